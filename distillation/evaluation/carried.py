"""The cells of transfer and kd: networks pre-trained on a set, transferred to a target and tested there."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

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
    """One network of a table.

    Attributes:
        set: name of its set.
        source: its images; None: it is not pre-trained.
        kind: use of their labels; None: it is not pre-trained.
        network: network name.
        seed: its seed.
        protocol: the protocol of its transfer.
    """

    set: str
    source: Source | None
    kind: str | None
    network: str
    seed: int
    protocol: str


def distilled(students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Returns the cells of the relabelled set and, if a teacher labelled it, of its control."""
    sets = [(name, path, used_as(path)) for name, path in paths.LABELLED.items() if path.is_file()]
    return [
        Cell(set=name, source=FromFile(path), kind=kind, network=network, seed=seed, protocol=protocol)
        for name, path, kind in sets
        for protocol in protocols
        for network in students.networks
        for seed in range(students.seeds)
    ]


def from_scratch(students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Returns the cells of networks without pre-training."""
    return [
        Cell(set="scratch", source=None, kind=None, network=network, seed=seed, protocol=protocol)
        for protocol in protocols
        for network in students.networks
        for seed in range(students.seeds)
    ]


def noise(students: Students, count: int) -> list[Cell]:
    """Returns the cells of knowledge distillation on ``count`` images of Gaussian noise, without pre-training."""
    return [
        Cell(set="gaussian", source=Noise(count), kind=None, network=network, seed=seed, protocol="kd")
        for network in students.networks
        for seed in range(students.seeds)
    ]


def real(data: RealSet, ipc: int, students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Returns the cells of random and of k-means images of the RealSet, ``ipc`` a class; each seed has a draw of its own.

    For an indexed dataset, only the random ones.
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
    """The fields that the jobs of transfer and kd share: the network of a cell, and the task that pre-trains it."""
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
    """Writes the out of a stage as ``runtime.stage.produce``; missing cells have their networks pre-trained first.

    Args:
        name: of the stage.
        out: its folder.
        write: function of a folder and the finished tasks that writes the out.
        work: function of a job, its task and a device.
        cells: the table.
        job_of: function of a cell and the Task of its pre-training (None: from scratch) that returns the job of ``work``.
        students: networks, seeds and precision.
        settings: of pre-training.
        compute: as in ``runtime.stage``.
        shapes: (channels, size, classes) of the dataset and of the target.

    Raises:
        BadInput: the target's images have another shape than the dataset's, or do not fit a network.
    """
    _check_shapes(*shapes)
    for network in {cell.network for cell in cells}:
        check(network, *shapes[0][:2])
    pretraining = {_start(cell): _pretraining(cell, students, settings) for cell in cells if cell.kind}
    work_of_start = cast("stage.Work", pretrain)  # of a Job of its own
    starts = dict(zip(pretraining, stage.tasks_of(work_of_start, pretraining, compute), strict=True))
    jobs = {
        f"{name} {cell.set} {cell.protocol} {cell.network} {cell.seed}": job_of(cell, starts.get(_start(cell)))
        for cell in cells
    }

    def before(missing: list) -> AbstractContextManager:
        needed = {job.start.folder for job in missing if job.start}
        return stage.finished(
            work_of_start, {label: job for label, job in pretraining.items() if starts[label].folder in needed}, compute
        )

    stage.produce(name, out, write, work, jobs, compute, before=before)


def write(out: Path, cells: Sequence[Cell], tasks: Sequence[Task], target: str, info: dict) -> None:
    """Writes ``rows.csv``, ``metrics.json`` and ``info.json`` of finished cells."""
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
    if dataset[:2] != target[:2]:
        raise BadInput(
            f"the target's images are {target[0]}×{target[1]}×{target[1]}, but those of the dataset, on which networks are "
            f"pre-trained, {dataset[0]}×{dataset[1]}×{dataset[1]}: give the target the same pixels and colour."
        )
