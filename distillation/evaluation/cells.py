"""The tables of the stages evaluate, baseline and whole: cells of one student each, their jobs, and the files."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distillation.data.real import RealSet
from distillation.evaluation import classify
from distillation.evaluation.sets import ClassMeans, Source, images_of, k_means_choice, random_choice
from distillation.evaluation.settings import EvaluateCommon, TrainingSettings
from distillation.networks.names import check
from distillation.params import Compute
from distillation.runtime import files, tensors
from distillation.runtime.device import environment
from distillation.runtime.work import Task
from distillation.training.group import group_size

# Sets of as many images as another of the same table: with few seeds they have the other half of a group's places.
_SECOND = ("control", "mean")
# Columns of rows.csv after those that name the cell; best_test only if ``test_every`` is set.
_MEASURED = ("accuracy", "best_test", "train_accuracy", "loss")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a table: a student, trained on a set and tested once.

    Attributes:
        set: name of its set: ``distilled``, ``control``, ``random``, ``kmeans``, ``mean`` or ``whole``.
        source: the images of the set.
        network: network name.
        seed: number of the student, from which its weights, batches and augmentation are drawn.
        draw: which draw of random images it has. The k-means and mean rows of that table have 0, tables without random
            images None, and no such column.
    """

    set: str
    source: Source
    network: str
    seed: int
    draw: int | None = None

    @property
    def columns(self) -> dict:
        """The columns, by name, that identify the cell in ``rows.csv``, ``curves.csv`` and ``classes.csv``."""
        draw = {} if self.draw is None else {"draw": self.draw}
        return {"set": self.set, **draw, "network": self.network, "seed": self.seed}


def protocol(
    common: EvaluateCommon, kind: str, settings: TrainingSettings, lesson: Callable | None = None
) -> classify.Protocol:
    """Returns the protocol of students.

    Args:
        common: gives precision, compilation and ``test_every``.
        kind: how the labels are used, one of the fields of ``settings.Standard``.
        settings: the training settings of that kind.
        lesson: as in ``classify.Protocol``.
    """
    return classify.Protocol(
        kind=kind,
        settings=settings,
        precision=common.precision,
        compile=common.compile,
        test_every=common.test_every,
        lesson=lesson,
    )


def jobs(
    stage: str, cells: Sequence[Cell], protocol: classify.Protocol, folder: Path, data: RealSet, compute: Compute
) -> dict[str, classify.Job]:
    """Returns the job of each cell, in order, for ``runtime.stage.produce``.

    Args:
        stage: name of the stage, the first word of the labels.
        cells: the students.
        protocol: their training and testing.
        folder: the folder of the RealSet whose test split they are tested on.
        data: that set.
        compute: the section ``compute``, for the device and the size of groups.

    Returns:
        Jobs by label: the stage and the columns of the cell, as in ``baseline@common random 0 ConvNet 0``.

    Raises:
        BadInput: a network cannot take such images.
    """
    for network in {cell.network for cell in cells}:
        check(network, *data.shape[:2])
    model = environment(compute.device, compute.threads).device
    found = {}
    for cell in cells:
        count = images_of(cell.source, data)
        batch = min(count, getattr(protocol.settings, "batch", count))  # batches of fkd are stored with the labels
        group = group_size(compute.group, cell.network, data.shape, batch, model)
        found[" ".join(map(str, [stage, *cell.columns.values()]))] = classify.Job(
            data=folder,
            source=cell.source,
            network=cell.network,
            seed=cell.seed,
            protocol=protocol,
            group=group,
            place=(cell.seed + (group // 2 if cell.set in _SECOND else 0)) % group,
        )
    return found


def write(out: Path, cells: Sequence[Cell], tasks: Sequence[Task], classes: Sequence[str], info: dict) -> None:
    """Writes the files of a table: the out of the stages evaluate, baseline and whole.

    - ``rows.csv``: a row for each cell, with accuracies in percent and the training loss of the last epoch;
    - ``curves.csv``: the training loss over epochs, a row for each recorded epoch of each cell;
    - ``classes.csv``: the test accuracy in percent by class; empty for a class without test images;
    - ``info.json``: ``info``, and the optimiser steps and GFLOP of all students together;
    - ``metrics.json``: the mean accuracy over all rows, whatever their set, for ``dvc metrics diff``.

    Args:
        out: an empty folder.
        cells: the students.
        tasks: their finished tasks, in the same order.
        classes: names, in the order of labels.
        info: entries of ``info.json`` beside the cost.
    """
    import pandas as pd  # slow to import, and no worker process needs it

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
    table = pd.DataFrame(by_class)  # errors="replace": the name of a class may hold half of a surrogate pair
    table.to_csv(out / "classes.csv", index=False, float_format="%.6g", quoting=quoting, errors="replace")
    files.save_json(out / "info.json", {**info, "cost": {"steps": steps, "gflop": round(gflop, 1)}})
    mean = sum(row["accuracy"] for row in rows) / len(rows)
    files.save_json(out / "metrics.json", {"accuracy": round(mean, 2)})


def baselines(data: RealSet, networks: Sequence[str], seeds: int, draws: int, ipc: int) -> Iterator[Cell]:
    """Yields the students of images that were not distilled, for each network.

    Args:
        data: the dataset.
        networks: network names.
        seeds: students on the k-means and on the class-mean images; 0: neither, since both read all pixels at once.
        draws: draws of random images. Each has one student, whose seed is the number of the draw.
        ipc: random, and k-means, images of each class.

    Raises:
        BadInput: a class has fewer than ``ipc`` training images.
    """
    kmeans = [k_means_choice(data, ipc)] if seeds else []
    for network in networks:
        for draw in range(draws):
            source = random_choice(data, ipc, draw)
            yield Cell(set="random", draw=draw, source=source, network=network, seed=draw)
        for seed in range(seeds):
            yield Cell(set="kmeans", draw=0, source=kmeans[0], network=network, seed=seed)
            yield Cell(set="mean", draw=0, source=ClassMeans(), network=network, seed=seed)


def save_models(out: Path, cells: Sequence[Cell], tasks: Sequence[Task]) -> None:
    """Writes the weights of all students into ``students.safetensors``, named ``set/network/seed/parameter``.

    Args:
        out: folder of the out.
        cells: the students.
        tasks: their finished tasks, in the same order.
    """
    weights = {}
    for cell, task in zip(cells, tasks, strict=True):
        folder = task.done
        content, _ = tensors.load(folder / classify.WEIGHTS)
        weights |= {f"{cell.set}/{cell.network}/{cell.seed}/{key}": value for key, value in content.items()}
    tensors.save(out / "students.safetensors", weights, {"networks": sorted({cell.network for cell in cells})})
