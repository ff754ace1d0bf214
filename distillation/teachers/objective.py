"""One teacher to make: what an objective is, what it is given, and what it leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

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
from distillation.training.resume import complete

if TYPE_CHECKING:
    from distillation.teachers.settings import PoolSettings
    from distillation.training.settings import TrainSettings

RESULT = "teacher.safetensors"


@dataclass(frozen=True)
class Objective:
    """A way in which teachers come to be.

    Attributes:
        settings: the schema of its section of params.yaml; a pool's PoolSettings hold the section as ``training``.
        make: function of a Job, its Task and a device that makes one teacher, resuming where an earlier run stopped, and
            calls ``finish``.
        check: function of PoolSettings and their path in params.yaml; raises BadInput where they do not go together.
        classifies: function of PoolSettings: whether the teachers' outputs are the classes of their source.
        words: function of PoolSettings: those of ``networks`` that are words of ours, which must fit the source's images.
        shape: function of PoolSettings and the source's (channels, size): those of the images that the teachers take.
    """

    settings: type[Section]
    make: Callable[["Job", Task, str], None]
    check: Callable[["PoolSettings", str], None] = lambda pool, path: None
    classifies: Callable[["PoolSettings"], bool] = lambda pool: True
    words: Callable[["PoolSettings"], list[str]] = lambda pool: pool.networks
    shape: Callable[["PoolSettings", tuple[int, int]], tuple[int, int]] = lambda pool, source: source


@dataclass(frozen=True, kw_only=True)
class Job:
    """A teacher to make: the ``index``-th network ``network`` (a word) on the RealSet in ``data``.

    ``settings`` are those of its pool, of this one network.
    """

    data: Path
    settings: "PoolSettings"
    network: str
    index: int

    @property
    def name(self) -> str:
        """What names its draws."""
        return f"teacher/{self.network}/{self.index}"


def split(data: RealSet) -> tuple[Split, Split]:
    """(training, validation) Splits: every tenth image of each class is held out."""
    held = torch.zeros(len(data.train), dtype=torch.bool)
    for members in data.members:
        held[members[9::10]] = True
    if not held.any():
        raise BadInput("teacher keep 'best' holds out every tenth image of a class, but no class has ten; keep 'last'.")
    held = held.to(data.train.labels.device)
    training, validation = (Split(data.train.images[mask], data.train.labels[mask]) for mask in (~held, held))
    return training, validation


def training_of(job: Job, data: RealSet, shown: Split, device: str) -> Training:
    """The Training of a fresh network of ``job`` on the Split ``shown`` and its labels, by the settings of its section."""
    settings = job.settings
    draws = generator(settings.seed, "teacher", job.network, job.index)
    return Training(
        build(job.network, *data.shape, draws).to(device),
        lambda index: (data.encode(shown.images[index]), shown.labels[index]),
        len(shown),
        loss_of("ce"),
        cast("TrainSettings", settings.training),
        settings.seed,
        job.name,
        data.info["flip"],
        settings.precision,
        settings.compile,
        order_on=indices_on(shown.images),
        pad_value=data.space.pad_value(),
    )


def train(task: Task, training: Training, beside: dict, after: Callable[[], None]) -> list[list[float]]:
    """Brings a Training to its end, resuming where an earlier run stopped.

    Args:
        beside: what a checkpoint holds beside the training; it is brought up to date in place.
        after: called after each epoch.

    Returns:
        A row of epoch, loss and training accuracy (percent) an epoch.
    """
    curve: list[list[float]] = []

    def advance() -> dict[str, float] | None:
        if not (finished := training.advance()):
            return None
        curve.append([training.epoch, *finished])
        after()
        return {"loss": finished[0], "accuracy": finished[1]}

    def load_state_dict(state: dict[str, Any]) -> None:
        training.load_state_dict(state["training"])
        curve.extend(state["curve"])
        beside.update(state["beside"])

    complete(
        task,
        cast("dict[str, Any] | None", task.start()),
        advance=advance,
        state_dict=lambda: {"training": training.state_dict(), "curve": curve, "beside": beside},
        load_state_dict=load_state_dict,
        at=lambda: training.epoch,
        total=training.settings.epochs,
        unit="epoch",
    )
    return curve


def finish(
    job: Job,
    task: Task,
    data: RealSet,
    network: nn.Module,
    kept: dict,
    curve: list,
    classifies: bool = True,
    beside: dict | None = None,
    **more: object,
) -> None:
    """Leaves a network as the result of its task.

    Args:
        job, task: what it was made for.
        data: a RealSet whose space and shape are those of what the network takes.
        network: of the job's word; its weights are replaced.
        kept: for each of ``settings.keep`` by name, ``weights`` (a state dict) and ``epoch``.
        curve: rows of epoch, loss and training accuracy (percent, or None).
        classifies: whether the network's outputs are the classes of ``data``, so that it has a test accuracy; else its
            classifier is left out.
        beside: tensors by name that are stored beside the weights.
        more: what else its record should say.
    """
    record = {"network": job.network, "index": job.index, "parameters": parameters(network), "curve": curve, "kept": []}
    record |= {"classes": data.classes if classifies else None, "shape": list(data.shape[:2]), "space": data.space.kind}
    weights = data.space.packed() | (beside or {})
    for name in map(str, job.settings.keep):
        network.load_state_dict(kept[name]["weights"])
        for key, value in kept[name]["weights"].items():
            if classifies or not key.startswith("classifier."):
                weights[f"{name}/{key}"] = value
        score = accuracy(network, data, data.test, job.settings.precision) if classifies else None
        record["kept"].append({"name": name, "epoch": kept[name]["epoch"], "accuracy": score})
    with task.result() as folder:
        tensors.save(folder / RESULT, weights, record | more)
