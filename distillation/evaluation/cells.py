"""The cells of a table, one student each: their jobs and their rows."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from distillation.data.real import RealSet
from distillation.evaluation import classify
from distillation.evaluation.sets import ClassMeans, Source, k_means_choice, random_choice
from distillation.evaluation.settings import EvaluateCommon, TrainingSettings
from distillation.networks.names import check
from distillation.runtime import files, tensors
from distillation.runtime.work import Task

# Columns of rows.csv after those that name the cell; best_test only if ``test_every`` is set.
_MEASURED = ("accuracy", "best_test", "train_accuracy", "loss")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One student of a table.

    Attributes:
        set: name of its set.
        source: its images.
        network: network name.
        seed: its seed.
        draw: the draw of a random set; None for other sets.
    """

    set: str
    source: Source
    network: str
    seed: int
    draw: int | None = None

    @property
    def columns(self) -> dict:
        """The columns of rows and curves that identify the cell."""
        draw = {} if self.draw is None else {"draw": self.draw}
        return {"set": self.set, **draw, "network": self.network, "seed": self.seed}


def protocol(
    common: EvaluateCommon, kind: str, settings: TrainingSettings, lesson: Callable | None = None
) -> classify.Protocol:
    """The protocol of students that learn labels as ``kind`` by ``settings``; see ``classify.Protocol``."""
    return classify.Protocol(
        kind=kind,
        settings=settings,
        precision=common.precision,
        compile=common.compile,
        test_every=common.test_every,
        lesson=lesson,
    )


def jobs(
    stage: str, cells: Sequence[Cell], protocol: classify.Protocol, data: Path, shape: tuple[int, ...]
) -> dict[str, classify.Job]:
    """Returns the job of each cell by its label, in order.

    Args:
        stage: first word of the labels.
        cells: students.
        protocol: of their training.
        data: the folder of the RealSet.
        shape: its (channels, size, classes).

    Raises:
        BadInput: a network cannot take such images.
    """
    for network in {cell.network for cell in cells}:
        check(network, *shape[:2])
    return {
        " ".join(map(str, [stage, *cell.columns.values()])): classify.Job(
            data=data, source=cell.source, network=cell.network, seed=cell.seed, protocol=protocol
        )
        for cell in cells
    }


def write(out: Path, cells: Sequence[Cell], tasks: Sequence[Task], classes: Sequence[str], info: dict) -> None:
    """Writes ``rows.csv``, ``curves.csv``, ``classes.csv`` (accuracy by class), ``metrics.json`` and ``info.json``.

    Args:
        out: the folder.
        cells: students.
        tasks: their finished tasks.
        classes: names, in the order of labels.
        info: entries of ``info.json`` beside the cost.
    """
    rows, curves, by_class, steps, gflop = [], [], [], 0, 0.0
    for cell, task in zip(cells, tasks, strict=True):
        folder = task.done
        record = files.load_json(folder / classify.RECORD)
        rows.append({**cell.columns, **{key: record[key] for key in _MEASURED if key in record}})
        curves += [{**cell.columns, "epoch": epoch, "loss": loss} for epoch, loss in record["curve"]]
        pairs = zip(classes, record["class_accuracy"], strict=True)
        by_class += [{**cell.columns, "class": name, "accuracy": value} for name, value in pairs]
        steps, gflop = steps + record["steps"], gflop + record["gflop"]
    pd.DataFrame(rows).to_csv(out / "rows.csv", index=False, float_format="%.6g")
    pd.DataFrame(curves).to_csv(out / "curves.csv", index=False, float_format="%.6g")
    # Python's csv, before 3.13, quotes no name for a bare carriage return, and readers take it for the end of a line
    quoting = csv.QUOTE_NONNUMERIC if any("\r" in name for name in classes) else csv.QUOTE_MINIMAL
    table = pd.DataFrame(by_class)
    table.to_csv(out / "classes.csv", index=False, float_format="%.6g", quoting=quoting, errors="replace")
    files.save_json(out / "info.json", {**info, "cost": {"steps": steps, "gflop": round(gflop, 1)}})
    mean = sum(row["accuracy"] for row in rows) / len(rows)
    files.save_json(out / "metrics.json", {"accuracy": round(mean, 2)})


def baselines(data: RealSet, networks: Sequence[str], seeds: int, draws: int, ipc: int) -> Iterator[Cell]:
    """Yields one student for each random draw, with a seed of its own, and ``seeds`` each for k-means and class-mean images."""
    kmeans = [k_means_choice(data, ipc)] if seeds else []
    for network in networks:
        for draw in range(draws):
            source = random_choice(data, ipc, draw)
            yield Cell(set="random", draw=draw, source=source, network=network, seed=draw)
        for seed in range(seeds):
            yield Cell(set="kmeans", draw=0, source=kmeans[0], network=network, seed=seed)
            yield Cell(set="mean", draw=0, source=ClassMeans(), network=network, seed=seed)


def save_models(out: Path, cells: Sequence[Cell], tasks: Sequence[Task]) -> None:
    """Writes all students into one file, their weights named ``set/network/seed/parameter``."""
    weights = {}
    for cell, task in zip(cells, tasks, strict=True):
        folder = task.done
        content, _ = tensors.load(folder / classify.WEIGHTS)
        weights |= {f"{cell.set}/{cell.network}/{cell.seed}/{key}": value for key, value in content.items()}
    tensors.save(out / "students.safetensors", weights, {"networks": sorted({cell.network for cell in cells})})
