"""The cells of transfer and kd: one network each, pre-trained on a set, carried over to a target, measured there."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

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
    """A network: the name of its set, its images and how their labels are used, its word and seed, and the protocol by
    which it is carried over. Without ``kind`` it is not pre-trained."""

    set: str
    source: Source | None
    kind: str | None
    network: str
    seed: int
    protocol: str


def distilled(students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Cells of the relabelled set and, where a teacher labelled it, of its control."""
    found = [(name, path, used_as(path)) for name, path in paths.LABELLED.items() if path.is_file()]
    return [
        Cell(set=name, source=FromFile(path), kind=kind, network=network, seed=seed, protocol=protocol)
        for name, path, kind in found
        for protocol in protocols
        for network in students.networks
        for seed in range(students.seeds)
    ]


def from_scratch(students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Cells of networks that nothing pre-trains."""
    return [
        Cell(set="scratch", source=None, kind=None, network=network, seed=seed, protocol=protocol)
        for protocol in protocols
        for network in students.networks
        for seed in range(students.seeds)
    ]


def noise(students: Students, count: int) -> list[Cell]:
    """Cells of knowledge distillation on ``count`` images of Gaussian noise, by networks that nothing pre-trains."""
    return [
        Cell(set="gaussian", source=Noise(count), kind=None, network=network, seed=seed, protocol="kd")
        for network in students.networks
        for seed in range(students.seeds)
    ]


def real(data: RealSet, ipc: int, students: Students, protocols: Sequence[str]) -> list[Cell]:
    """Cells of random and of k-means images of the RealSet, ``ipc`` a class with their labels; each seed has its draw.

    Only of random ones where its images stay in files.
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
    """Makes the out of a stage as ``runtime.stage.produce``; networks are pre-trained for the cells that are missing.

    Args:
        job_of: function of a cell and the Task that pre-trains its network (None: it starts from scratch) that gives the
            job of ``work``.
        settings: of pre-training.
        shapes: those of the dataset and of the target.

    Raises:
        BadInput: the target's images have not the shape of the dataset's, or do not fit a network.
    """
    _check_shapes(*shapes)
    for network in {cell.network for cell in cells}:
        check(network, *shapes[0][:2])
    pretraining = {_start(cell): _pretraining(cell, students, settings) for cell in cells if cell.kind}
    starts = dict(zip(pretraining, stage.tasks_of(pretrain, pretraining, compute), strict=True))
    jobs = {
        f"{name} {cell.set} {cell.protocol} {cell.network} {cell.seed}": job_of(cell, starts.get(_start(cell)))
        for cell in cells
    }

    def before(missing: list) -> AbstractContextManager:
        needed = {job.start.folder for job in missing if job.start}
        return stage.finished(
            pretrain, {label: job for label, job in pretraining.items() if starts[label].folder in needed}, compute
        )

    stage.produce(name, out, write, work, jobs, compute, before=before)


def write(out: Path, cells: Sequence[Cell], tasks: Sequence[Task], target: str, info: dict) -> None:
    """Writes ``rows.csv``, ``metrics.json`` and ``info.json`` of finished cells."""
    rows = []
    for cell, task in zip(cells, tasks, strict=True):
        folder = task.finished()
        assert folder is not None
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
    """The label of the pre-training of a cell: the same for every protocol, target and teacher."""
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
            f"pre-trained, {dataset[0]}×{dataset[1]}×{dataset[1]}: give the target the same size and colour."
        )
