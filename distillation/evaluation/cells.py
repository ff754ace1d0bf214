"""The cells of a stage, one student each: training them, and writing their rows."""

import contextlib
from dataclasses import dataclass

import pandas as pd

from distillation.evaluation import classify as students
from distillation.evaluation.settings import Standard
from distillation.networks.names import check
from distillation.runtime import device, files
from distillation.runtime.tasks import map_tasks
from distillation.runtime.work import Task, locked_tasks

_MEASURED = ("accuracy", "best_test", "train_accuracy", "loss")  # best_test only where it is asked for
_EXTENT = ("params:evaluate.networks", "params:evaluate.seeds", "params:evaluate.draws", "params:evaluate.save_models")


@dataclass(frozen=True)
class Cell:
    """A student: the ``named`` columns of its rows (its set first), where its images come from, network and seed."""

    named: tuple
    source: tuple
    word: str
    seed: int


def inputs_of_one(inputs, protocol, kind):
    """The inputs that change one student: not how many there are, nor the settings of other label kinds."""
    other = tuple(f"params:evaluate.{protocol}.{k}." for k in Standard.model_fields if k != kind)
    return {k: v for k, v in inputs.items() if k not in _EXTENT and not k.startswith(other)}


@contextlib.contextmanager
def trained(stage, cells, inputs, protocol, folder, data, compute):
    """Train the students of ``cells`` that are not finished yet; yields the finished Task of each, locked, in order.

    Raises:
        BadInput: a network cannot take the images of ``data``, the RealSet in ``folder``.
    """
    for word in {cell.word for cell in cells}:
        check(word, *data.shape[:2])
    made = device.made_on(compute.device)
    tasks = []
    for cell in cells:
        label = " ".join(map(str, [stage, *(value for _, value in cell.named), cell.word, cell.seed]))
        tasks.append(Task.of(label, inputs, [cell.named, cell.word, cell.seed], made, compute.checkpoint))
    with locked_tasks(tasks) as missing:
        if missing:
            with device.lease_device(compute.device) as where:
                jobs = [
                    students.Job(task, folder, cell.source, cell.word, cell.seed, protocol, str(where))
                    for task, cell in zip(tasks, cells, strict=True)
                    if task in missing
                ]
                for _ in map_tasks(students.train, jobs, compute.workers, compute.threads):
                    pass
        yield tasks


def write(out, cells, tasks, info):
    """``rows.csv``, ``curves.csv``, ``metrics.json`` and ``info.json`` of finished cells."""
    rows, curves, steps, gflop = [], [], 0, 0.0
    for cell, task in zip(cells, tasks, strict=True):
        record = files.load_json(task.finished() / students.RECORD)
        about = {**dict(cell.named), "network": cell.word, "seed": cell.seed}
        rows.append({**about, **{key: record[key] for key in _MEASURED if key in record}})
        curves += [{**about, "epoch": epoch, "loss": loss} for epoch, loss in record["curve"]]
        steps, gflop = steps + record["steps"], gflop + record["gflop"]
    pd.DataFrame(rows).to_csv(out / "rows.csv", index=False, float_format="%.6g")
    pd.DataFrame(curves).to_csv(out / "curves.csv", index=False, float_format="%.6g")
    files.save_json(out / "info.json", {**info, "cost": {"steps": steps, "gflop": round(gflop, 1)}})
    mean = sum(row["accuracy"] for row in rows) / len(rows)
    files.save_json(out / "metrics.json", {"accuracy": round(mean, 2)})
