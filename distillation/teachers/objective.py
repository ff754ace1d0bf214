"""An objective, the job of training one teacher by it, and the result of that job."""

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
from distillation.runtime.errors import BadInput, require_finite
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
Shape = tuple[int | None, int | None]  # channels and pixels of a side; None if only the files can tell


@dataclass(frozen=True)
class Objective:
    """A way to train or obtain teachers.

    Attributes:
        settings: schema of its section of params.yaml; PoolSettings hold that section as ``training``.
        make: function of a Job, its Task and a device; it trains one teacher, resuming from the last checkpoint, and calls
            ``finish``.
        check: function of PoolSettings and their path in params.yaml; it raises BadInput if they contradict each other.
        classifies: function of PoolSettings: whether the teachers' outputs are the classes of their source.
        words: function of PoolSettings: those of ``networks`` that are network names of this project.
        shape: function of PoolSettings and the source's (channels, size); it returns those of the teachers' inputs.
    """

    settings: type[Section]
    make: Callable[["Job", Task, str], None]
    check: Callable[["PoolSettings", str], None] = lambda pool, path: None
    classifies: Callable[["PoolSettings"], bool] = lambda pool: True
    words: Callable[["PoolSettings"], list[str]] = lambda pool: pool.networks
    shape: Callable[["PoolSettings", tuple[int | None, int | None]], tuple[int | None, int | None]] = (
        lambda pool, source: source
    )


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of training the ``index``-th network named ``network`` on the RealSet in the folder ``data``.

    ``settings`` are those of its pool, reduced to this one network.
    """

    data: Path
    settings: "PoolSettings"
    network: str
    index: int

    @property
    def name(self) -> str:
        """The prefix of the names of its random draws."""
        return f"teacher/{self.network}/{self.index}"

    @property
    def rate(self) -> str:
        """The setting of its learning rate; its pool may have a value of its own."""
        return f"objectives.{self.settings.objective}.lr"


def split(data: RealSet) -> tuple[Split, Split]:
    """Splits the training images into (training, validation): every tenth image of each class is held out.

    Raises:
        BadInput: no class has ten images.
    """
    held = torch.zeros(len(data.train), dtype=torch.bool)
    for members in data.members:
        held[members[9::10]] = True
    if not held.any():
        raise BadInput("teacher keep 'best' holds out every tenth image of a class, but no class has ten; keep 'last'.")
    held = held.to(data.train.labels.device)
    training, validation = (Split(data.train.images[mask], data.train.labels[mask]) for mask in (~held, held))
    return training, validation


def training_of(job: Job, data: RealSet, subset: Split, device: str) -> Training:
    """Returns the Training of a freshly initialised network of ``job`` on the Split ``subset``."""
    settings = job.settings
    draws = generator(settings.seed, "teacher", job.network, job.index)
    return Training(
        build(job.network, *data.shape, draws).to(device),
        lambda index: (data.encode(subset.images[index]), subset.labels[index]),
        len(subset),
        loss_of("ce"),
        cast("TrainSettings", settings.training),
        settings.seed,
        job.name,
        data.info["flip"],
        settings.precision,
        settings.compile,
        order_on=indices_on(subset.images),
        pad_value=data.space.pad_value(),
    )


def train(task: Task, training: Training, beside: dict, after: Callable[[], None], lower: str) -> list[list[float]]:
    """Runs a Training to its last epoch, resuming from the last checkpoint.

    Args:
        task: the Task that holds the checkpoints.
        training: the Training of the job.
        beside: what a checkpoint holds beside the training; restored in place.
        after: called after each epoch.
        lower: the setting to lower if the loss diverges.

    Returns:
        A row of epoch, loss and training accuracy (percent) for each epoch.

    Raises:
        Diverged: the loss of an epoch is not finite.
    """
    curve: list[list[float]] = []

    def advance() -> dict[str, float] | None:
        if not (finished := training.advance()):
            return None
        require_finite({"loss": finished[0]}, f"epoch {training.epoch} of {training.settings.epochs}", lower)
        curve.append([training.epoch, *finished])
        after()
        return {"loss": finished[0], "accuracy": finished[1]}

    def load_state_dict(state: dict[str, Any]) -> None:
        training.load_state_dict(state["training"])
        curve.extend(state["curve"])
        beside.update(state["beside"])

    complete(
        task,
        task.start(),
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
    """Writes a trained network as the result of its task.

    Args:
        job: the job that the network was trained for.
        task: its Task.
        data: a RealSet in the space and shape of the network's inputs.
        network: a network of the job's name; its weights are replaced.
        kept: for each entry of ``settings.keep`` by name, ``weights`` (a state dict) and ``epoch``.
        curve: rows of epoch, loss and training accuracy (percent, or None).
        classifies: whether the network's outputs are the classes of ``data``, so that it has a test accuracy; otherwise its
            classifier is not stored.
        beside: tensors by name that are stored beside the weights.
        more: further entries of its record.
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
