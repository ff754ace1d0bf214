"""The cells of a stage: one network each, pre-trained on a set, carried over to a target, measured there."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from distillation.data.distilled import FILE
from distillation.evaluation import pretrain
from distillation.evaluation.pretrain import WEIGHTS, used_as
from distillation.evaluation.sets import affords_all_pixels, k_means_choice, random_choice
from distillation.evaluation.transfer import PROTOCOLS, RECORD
from distillation.evaluation.transfer_settings import Pretrain
from distillation.networks.names import check
from distillation.runtime import device, files
from distillation.runtime.errors import BadInput
from distillation.runtime.tasks import map_tasks
from distillation.runtime.work import Task, locked_tasks

DATA, LABELLED = Path("data/real/dataset"), Path("data/relabeled")
SETS = {"distilled": LABELLED / FILE, "control": LABELLED / "control.safetensors"}
# What changes no cell: how many others there are, and which.
_EXTENT = ("params:evaluate.networks", "params:evaluate.seeds", "params:evaluate.transfer.protocols")
# What comes after pre-training.
_AFTER = ("cmd", "deps:data/real/targets/", "deps:models/", "deps:stages/kd.py", "deps:stages/labels")
_AFTER += ("deps:stages/teachers", "deps:stages/transfer.py", "params:evaluate.kd.", "params:evaluate.transfer.")


@dataclass(frozen=True)
class Cell:
    """A network: the name of its set, where its images come from (see ``evaluation.sets.images_of``) and how their labels
    are used, its word and seed, and by which protocol it is carried over. Without ``kind`` it is not pre-trained."""

    set: str
    source: tuple
    kind: str | None
    word: str
    seed: int
    protocol: str

    @property
    def start(self):
        """What tells pre-trained networks apart."""
        return self.set, self.source, self.kind, self.word, self.seed


def distilled(networks, seeds, protocols):
    """Cells of the relabelled set and, where a teacher labelled it, of its control."""
    starts = [(name, ("file", str(path)), used_as(path)) for name, path in SETS.items() if path.is_file()]
    return [
        Cell(*start, word, seed, protocol)
        for start in starts
        for protocol in protocols
        for word in networks
        for seed in range(seeds)
    ]


def real(data, ipc, networks, seeds, protocols):
    """Cells of random and of k-means images of the RealSet, ``ipc`` a class with their labels; each seed has its draw.

    Only of random ones where its images stay in files.
    """
    nearest = [("kmeans", ("chosen", k_means_choice(data, ipc)))] if affords_all_pixels(data) else []
    random = [("chosen", random_choice(data, ipc, seed)) for seed in range(seeds)]
    return [
        Cell(name, source, "hard", word, seed, protocol)
        for protocol in protocols
        for word in networks
        for seed in range(seeds)
        for name, source in [("random", random[seed]), *nearest]
    ]


@contextlib.contextmanager
def carried(stage, cells, inputs, how, compute, shapes, work, job_of):
    """Make the cells that are not finished yet; yields the finished Task of each, locked, in order.

    Args:
        inputs: the stage's, see ``runtime.inputs``.
        how: (Pretrain, precision, compile).
        shapes: those of the dataset and of the target.
        work: top-level function that makes a cell of what ``job_of(cell, task, weights, where)`` gives.

    Raises:
        BadInput: the target's images have not the shape of the dataset's, or do not fit a network.
    """
    _check_shapes(*shapes)
    for word in {cell.word for cell in cells}:
        check(word, *shapes[0][:2])
    made = device.made_on(compute.device)
    tasks = [_task(stage, cell, inputs, made, compute) for cell in cells]
    with locked_tasks(tasks) as missing:
        todo = [(cell, task) for cell, task in zip(cells, tasks, strict=True) if task in missing]
        starts = {cell.start: _pretraining(cell, inputs, made, compute) for cell, _ in todo if cell.kind}
        with locked_tasks(starts.values()) as unmade:
            if todo:
                with device.lease_device(compute.device) as where:
                    jobs = [_job(start, task, how, str(where)) for start, task in starts.items() if task in unmade]
                    for _ in map_tasks(pretrain.pretrain, jobs, compute.workers, compute.threads):
                        pass
                    weights = {start: task.finished() / WEIGHTS for start, task in starts.items()}
                    jobs = [job_of(cell, task, weights.get(cell.start), str(where)) for cell, task in todo]
                    for _ in map_tasks(work, jobs, compute.workers, compute.threads):
                        pass
        yield tasks


def write(out, cells, tasks, target, info):
    """``rows.csv``, ``metrics.json`` and ``info.json`` of finished cells."""
    rows = []
    for cell, task in zip(cells, tasks, strict=True):
        record = files.load_json(task.finished() / RECORD)
        about = {"set": cell.set, "target": target, "protocol": cell.protocol, "network": cell.word, "seed": cell.seed}
        rows.append(about | record)
    pd.DataFrame(rows).to_csv(out / "rows.csv", index=False, float_format="%.6g")
    files.save_json(out / "info.json", {"target": target, **info})
    mean = sum(row["accuracy"] for row in rows) / len(rows)
    files.save_json(out / "metrics.json", {"accuracy": round(mean, 2)})


def _check_shapes(ours, theirs):
    if ours[:2] != theirs[:2]:
        raise BadInput(
            f"the target's images are {theirs[0]}×{theirs[1]}×{theirs[1]}, but those of the dataset, on which networks are "
            f"pre-trained, {ours[0]}×{ours[1]}×{ours[1]}: give the target the same size and colour."
        )


def _task(stage, cell, inputs, made, compute):
    others = tuple(f"params:evaluate.transfer.{name}." for name in PROTOCOLS if name != cell.protocol)
    label = f"{stage} {cell.set} {cell.protocol} {cell.word} {cell.seed}"
    identity = [*cell.start, cell.protocol]
    return Task.of(label, _matters(inputs, cell, others), identity, made, compute.checkpoint)


def _pretraining(cell, inputs, made, compute):
    """The Task of a pre-trained network: the same for every protocol, target and teacher."""
    label = f"pretrain {cell.set} {cell.word} {cell.seed}"
    return Task.of(label, _matters(inputs, cell, _AFTER), cell.start, made, compute.checkpoint)


def _matters(inputs, cell, others):
    """The inputs that change a cell: not how many there are, nor how labels of another kind are learnt."""
    kinds = tuple(f"params:evaluate.pretrain.{kind}." for kind in Pretrain.model_fields if kind != cell.kind)
    return {k: v for k, v in inputs.items() if k not in _EXTENT and not k.startswith((*kinds, *others))}


def _job(start, task, how, where):
    (_, source, kind, word, seed), (settings, precision, compiled) = start, how
    return pretrain.Job(task, DATA, source, kind, word, seed, getattr(settings, kind), precision, compiled, where)
