"""The tables of the stages transfer and kd: networks pre-trained on a set, trained further for a target, tested there.

The work has two levels. The task of a cell needs the weights that the task of its pre-training writes, and cells of one
set, network and seed share that pre-training. ``produce`` computes both.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from distillation import params, paths
from distillation.data.real import RealSet
from distillation.evaluation.pretrain import Job, pretrain, used_as
from distillation.evaluation.sets import FromFile, Noise, Source, affords_all_pixels, k_means_choice, random_choice
from distillation.evaluation.settings import Students
from distillation.evaluation.transfer import RECORD
from distillation.evaluation.transfer_settings import Pretrain
from distillation.networks.names import check
from distillation.runtime import files, stage
from distillation.runtime.errors import BadInput
from distillation.runtime.work import Task


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a table of transfer or kd: a network, the set that it is pre-trained on, and a seed.

    Attributes:
        set: name of its set: ``distilled``, ``control``, ``random``, ``kmeans``, ``gaussian`` or ``scratch``.
        source: the images of the set; None: the network starts from scratch.
        kind: how pre-training uses their labels: ``hard``, ``soft`` or ``features``; None: there is no pre-training.
        network: network name.
        seed: number of the student, from which its weights and batches are drawn.
        protocol: how it is trained for the target: ``finetune``, ``linear`` or ``kd``.
    """

    set: str
    source: Source | None
    kind: str | None
    network: str
    seed: int
    protocol: str


def distilled(students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Returns the cells of the relabelled set and, if its control exists, of that.

    Args:
        students: networks and number of seeds.
        protocols: a cell is made for each of them, see ``Cell.protocol``.

    Raises:
        BadInput: the labels are not stored with the images (kinds online and fkd), or a file is damaged.
    """
    sets = [(name, path, used_as(path)) for name, path in paths.LABELLED.items() if path.is_file()]
    return [
        Cell(set=name, source=FromFile(path), kind=kind, network=network, seed=seed, protocol=protocol)
        for name, path, kind in sets
        for protocol in protocols
        for network in students.networks
        for seed in range(students.seeds)
    ]


def from_scratch(students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Returns the cells of networks without pre-training, the reference that shows what pre-training is worth."""
    return [
        Cell(set="scratch", source=None, kind=None, network=network, seed=seed, protocol=protocol)
        for protocol in protocols
        for network in students.networks
        for seed in range(students.seeds)
    ]


def noise(students: Students, count: int) -> list[Cell]:
    """Returns the cells of knowledge distillation on noise, the control without any images; there is no pre-training.

    Args:
        students: networks and number of seeds.
        count: images of an epoch. They are drawn anew for every batch.
    """
    return [
        Cell(set="gaussian", source=Noise(count), kind=None, network=network, seed=seed, protocol="kd")
        for network in students.networks
        for seed in range(students.seeds)
    ]


def real(data: RealSet, ipc: int, students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Returns the cells of the baselines: random and k-means images of the training split, with their hard labels.

    Each seed has random images of its own, and all seeds the same k-means images. An indexed dataset has no k-means
    cells, since clustering reads all pixels; a note on stderr tells.

    Args:
        data: the dataset that was distilled.
        ipc: images per class.
        students: networks and number of seeds.
        protocols: a cell is made for each of them, see ``Cell.protocol``.

    Raises:
        BadInput: a class has fewer than ``ipc`` training images.
    """
    nearest = [("kmeans", k_means_choice(data, ipc))] if affords_all_pixels(data) else []
    random = [random_choice(data, ipc, seed) for seed in range(students.seeds)]
    return [
        Cell(set=name, source=source, kind="hard", network=network, seed=seed, protocol=protocol)
        for protocol in protocols
        for network in students.networks
        for seed in range(students.seeds)
        for name, source in [("random", random[seed]), *nearest]
    ]


def of_network(cell: Cell, start: Task | None, students: Students) -> dict[str, Any]:
    """Returns the fields, by name, that ``transfer.Job`` and ``kd.Job`` share.

    Args:
        cell: gives network and seed.
        start: the Task that pre-trains the network; None: it starts from scratch.
        students: gives precision and compilation.
    """
    return {
        "start": start,
        "network": cell.network,
        "seed": cell.seed,
        "precision": students.precision,
        "compile": students.compile,
    }


def produce(
    name: str,
    out: Path,
    write: Callable[[Path, list[Task]], None],
    work: stage.Work,
    cells: Sequence[Cell],
    job_of: Callable[[Cell, Task | None], object],
    *,
    students: Students,
    settings: Pretrain,
    compute: params.Compute,
    shapes: tuple[tuple[int, int, int], tuple[int, int, int]],
) -> None:
    """Computes the cells of a table and writes the out of its stage, by ``runtime.stage.produce``.

    Networks are pre-trained first, but only those of cells that have no result yet.

    Args:
        name: name of the stage, with its target: ``transfer@svhn``.
        out: folder of the out.
        write: function of a folder and the finished tasks, in the order of ``cells``; it writes the out into the
            folder.
        work: function of a job, its task and a device: ``transfer.transfer`` or ``kd.distill_knowledge``.
        cells: the rows of the table.
        job_of: function of a cell and the Task of its pre-training (None: no pre-training) that returns the job of
            ``work``.
        students: precision and compilation of the networks.
        settings: of pre-training, by the kind of the labels.
        compute: device, workers, threads and checkpoints.
        shapes: (channels, pixels of a side, classes) of the dataset and of the target.

    Raises:
        BadInput: the target's images have other channels or another size than the dataset's, or do not fit a network.
    """
    _check_shapes(*shapes)
    for network in {cell.network for cell in cells}:  # before anything is pre-trained for hours
        check(network, *shapes[0][:2])
    # cells that differ in the protocol alone have one label here, and so share one pre-training
    pretraining = {_start(cell): _pretraining(cell, students, settings) for cell in cells if cell.kind}
    work_of_start = cast("stage.Work", pretrain)  # of a Job of its own
    starts = dict(zip(pretraining, stage.tasks_of(work_of_start, pretraining, compute), strict=True))
    jobs = {
        f"{name} {cell.set} {cell.protocol} {cell.network} {cell.seed}": job_of(cell, starts.get(_start(cell)))
        for cell in cells
    }

    # a pre-training whose cells are all finished is not made again, even if its own task was removed
    def before(missing: list) -> AbstractContextManager:
        needed = {job.start.folder for job in missing if job.start}
        return stage.finished(
            work_of_start, {label: job for label, job in pretraining.items() if starts[label].folder in needed}, compute
        )

    stage.produce(name, out, write, work, jobs, compute, before=before)


def write(out: Path, cells: Sequence[Cell], tasks: Sequence[Task], target: str, info: dict) -> None:
    """Writes the tables of the stages transfer and kd.

    ``rows.csv`` has a row for each cell: its set, target, protocol, network and seed, then the task's record:
    ``accuracy`` (percent), ``loss``, ``steps`` and, of kd, ``batch_accuracy``. ``metrics.json`` holds the mean accuracy
    over all rows, whatever their set, for ``dvc metrics diff``.

    Args:
        out: an empty folder.
        cells: the rows.
        tasks: their finished tasks, in the same order.
        target: name of the target dataset.
        info: entries of ``info.json`` beside the target.
    """
    import pandas as pd  # slow to import, and no worker process needs it

    rows = []
    for cell, task in zip(cells, tasks, strict=True):
        folder = task.done
        record = files.load_json(folder / RECORD)
        rows.append(
            {
                "set": cell.set,
                "target": target,
                "protocol": cell.protocol,
                "network": cell.network,
                "seed": cell.seed,
                **record,
            }
        )
    pd.DataFrame(rows).to_csv(out / "rows.csv", index=False, float_format="%.6g")
    files.save_json(out / "info.json", {"target": target, **info})
    mean = sum(row["accuracy"] for row in rows) / len(rows)
    files.save_json(out / "metrics.json", {"accuracy": round(mean, 2)})


def _start(cell: Cell) -> str:
    """Returns the label of a cell's pre-training: the same for every protocol, target and teacher."""
    return f"pretrain {cell.set} {cell.network} {cell.seed}"


def _pretraining(cell: Cell, students: Students, settings: Pretrain) -> Job:
    """Returns the job that pre-trains the network of a cell that has a source and a kind."""
    assert cell.source is not None and cell.kind is not None
    return Job(
        data=paths.DATASET,
        source=cell.source,
        kind=cell.kind,
        network=cell.network,
        seed=cell.seed,
        settings=getattr(settings, cell.kind),
        precision=students.precision,
        compile=students.compile,
    )


def _check_shapes(dataset: tuple[int, int, int], target: tuple[int, int, int]) -> None:
    # numbers of classes may differ: the classifier is replaced, see ``transfer.carried``
    if dataset[:2] != target[:2]:
        raise BadInput(
            f"the target's images are {target[0]}×{target[1]}×{target[1]}, but those of the dataset, on which networks are "
            f"pre-trained, {dataset[0]}×{dataset[1]}×{dataset[1]}: give the target the same pixels and colour."
        )
