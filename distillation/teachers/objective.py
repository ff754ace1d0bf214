"""One teacher to make: what an objective is, what it is given, and what it leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from distillation.console.progress import Progress
from distillation.data.indexed import indices_on
from distillation.data.real import RealSet, Split
from distillation.networks.build import build, parameters
from distillation.params import Section
from distillation.runtime import tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.training.accuracy import accuracy
from distillation.training.loop import Training
from distillation.training.losses import loss_of

RESULT = "teacher.safetensors"


@dataclass(frozen=True)
class Objective:
    """A way in which teachers come to be.

    Attributes:
        settings: the schema of its section of params.yaml; a pool's PoolSettings hold the section as ``training``.
        make: function of a Job that makes one teacher, resuming where an earlier run stopped, and calls ``finish``.
        check: function of PoolSettings and their path in params.yaml; raises BadInput where they do not go together.
        classifies: function of PoolSettings: whether the teachers' outputs are the classes of their source.
        words: function of PoolSettings: those of ``networks`` that are words of ours, which must fit the source's images.
        shape: function of PoolSettings and the source's (channels, size): those of the images that the teachers take.
    """

    settings: type[Section]
    make: Callable
    check: Callable = lambda pool, path: None
    classifies: Callable = lambda pool: True
    words: Callable = lambda pool: pool.networks
    shape: Callable = lambda pool, source: source


@dataclass(frozen=True)
class Job:
    """One teacher to make: the ``index``-th network ``word`` of a pool (PoolSettings) on the RealSet in ``data``."""

    task: Task
    data: Path
    settings: Any
    word: str
    index: int
    device: str


@lru_cache(maxsize=1)
def dataset(folder, device):
    """The RealSet in a folder, on the device; a worker's next teacher finds it loaded."""
    return RealSet.load(folder).to(device)


def split(data):
    """(training, validation) Splits: every tenth image of each class is held out."""
    held = torch.zeros(len(data.train), dtype=torch.bool)
    for members in data.members:
        held[members[9::10]] = True
    if not held.any():
        raise BadInput("teacher keep 'best' holds out every tenth image of a class, but no class has ten; keep 'last'.")
    held = held.to(data.train.labels.device)
    return tuple(Split(data.train.images[mask], data.train.labels[mask]) for mask in (~held, held))


def training_of(job, data, shown):
    """The Training of a fresh network of ``job`` on the Split ``shown`` and its labels, by the settings of its section."""
    settings, name = job.settings, f"teacher/{job.word}/{job.index}"
    network = build(job.word, *data.shape, generator(settings.seed, "teacher", job.word, job.index)).to(job.device)
    return Training(
        network,
        lambda index: (data.encode(shown.images[index]), shown.labels[index]),
        len(shown),
        loss_of("ce"),
        settings.training,
        settings.seed,
        name,
        data.info["flip"],
        settings.precision,
        settings.compile,
        order_on=indices_on(shown.images),
        black=data.space.black(),
    )


def complete(job, training, curve, after, state):
    """Bring a Training to its end; each epoch adds a row to ``curve`` and calls ``after``.

    ``state`` is a function that gives what a checkpoint holds beside the training and the curve.
    """
    epochs, live = job.settings.training.epochs, job.task.folder / "live.csv"
    with Progress(job.task.label, epochs, start=training.epoch, unit="epoch", live=live) as bar:
        while not training.done:
            if finished := training.advance():
                curve.append([training.epoch, *finished])
                after()
                bar.advance(loss=finished[0], accuracy=finished[1])
            if job.task.due():
                job.task.checkpoint({"training": training.state_dict(), "curve": curve, **state()})


def finish(job, data, network, kept, curve, classifies=True, beside=None, **more):
    """Leave a network as the result of its task.

    Args:
        job, data: the Job and a RealSet whose space and shape are those of what the network takes.
        network: of ``job.word``; its weights are replaced.
        kept: for each of ``settings.keep`` by name, ``weights`` (a state dict) and ``epoch``.
        curve: rows of epoch, loss and training accuracy (percent, or None).
        classifies: whether the network's outputs are the classes of ``data``, so that it has a test accuracy; else its
            classifier is left out.
        beside: tensors by name that are stored beside the weights.
        more: what else its record should say.
    """
    record = {"network": job.word, "index": job.index, "parameters": parameters(network), "curve": curve, "kept": []}
    record |= {"classes": data.classes if classifies else None, "shape": list(data.shape[:2]), "space": data.space.kind}
    weights = data.space.packed() | (beside or {})
    for name in map(str, job.settings.keep):
        network.load_state_dict(kept[name]["weights"])
        for key, value in kept[name]["weights"].items():
            if classifies or not key.startswith("classifier."):
                weights[f"{name}/{key}"] = value
        score = accuracy(network, data, data.test, job.settings.precision) if classifies else None
        record["kept"].append({"name": name, "epoch": kept[name]["epoch"], "accuracy": score})
    with job.task.result() as folder:
        tensors.save(folder / RESULT, weights, record | more)
