"""What all objectives share: their interface, the job of making one teacher, and the writing of its result.

The stage ``teacher`` creates a Job for each teacher of a pool and calls ``Objective.make`` with it and a Task. ``make``
trains (``training_of``, ``train``) and calls ``finish``, which writes ``RESULT``; ``writing`` collects these files.
"""

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
    """A way to train or import teachers; each module of ``objectives`` defines one as ``OBJECTIVE``.

    Attributes:
        settings: schema of its section of params.yaml; PoolSettings hold that section, validated, as ``training``.
        make: function of a Job, its Task and the name of a device. It makes one teacher, resuming from the last
            checkpoint, and calls ``finish``, which writes the result into the Task.
        check: function of PoolSettings and their path in params.yaml, such as ``teacher.main``. It raises BadInput if
            the settings contradict each other; the default accepts all.
        classifies: function of PoolSettings that tells whether the teachers' logits are the classes of their source. If
            not, the pool has features only.
        words: function of PoolSettings that returns those of ``networks`` that are network names of this project, not
            names of another library.
        shape: function of PoolSettings and the source's Shape that returns the Shape of the teachers' inputs; the
            default returns the source's.
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
    """All that the making of one teacher reads.

    Attributes:
        data: the folder of the RealSet that it is trained on.
        settings: the settings of its pool, reduced to this one teacher (``PoolSettings.of_one``), so that other
            teachers may be added to the pool without training this one again.
        network: its network name; of an imported teacher the library's name of the model.
        index: its number among the teachers of this name, from 0.
    """

    data: Path
    settings: "PoolSettings"
    network: str
    index: int

    @property
    def name(self) -> str:
        """The prefix of the names of its random generators, different for each teacher of a pool."""
        return f"teacher/{self.network}/{self.index}"

    @property
    def rate(self) -> str:
        """The key of its learning rate in params.yaml, for messages; the pool may override the value of this key."""
        return f"objectives.{self.settings.objective}.lr"


def split(data: RealSet) -> tuple[Split, Split]:
    """Splits the training images for ``pool.keep`` ``best``: every tenth image of each class is held out.

    Args:
        data: the dataset; its test images are not touched.

    Returns:
        The images to train on, and those to choose the checkpoint by, both on the device of ``data``. Of a class with
        fewer than ten images none is held out.

    Raises:
        BadInput: no class has ten images.
    """
    held = torch.zeros(len(data.train), dtype=torch.bool)
    for members in data.members:
        held[members[9::10]] = True  # by place, not drawn: all teachers of a dataset hold out the same images
    if not held.any():
        raise BadInput("teacher keep 'best' holds out every tenth image of a class, but no class has ten; keep 'last'.")
    held = held.to(data.train.labels.device)
    training, validation = (Split(data.train.images[mask], data.train.labels[mask]) for mask in (~held, held))
    return training, validation


def training_of(job: Job, data: RealSet, subset: Split, device: str) -> Training:
    """Creates the supervised Training of a teacher: cross-entropy on the labels of real images.

    Args:
        job: the job; the section of its objective is a TrainSettings.
        data: the dataset, for the shape of the network, the space of its inputs and the rule of mirroring.
        subset: the images to train on, in the space of ``data``; all training images, or the first part of ``split``.
        device: name of the device of the network; ``data`` is there already.

    Returns:
        A Training with freshly initialised weights at step 0.
    """
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
    """Starts a Task and runs a Training to its last epoch, resuming from the last checkpoint.

    Args:
        task: the Task that holds the checkpoints.
        training: the Training of the job, at step 0.
        beside: a dict that ``after`` fills, such as the weights kept so far. It is part of every checkpoint, and on
            resuming it is updated in place before the first step.
        after: function without arguments, called after each epoch and before the checkpoint that follows.
        lower: the key in params.yaml to lower if the loss diverges, for the message.

    Returns:
        A row of epoch (from 1), mean loss and training accuracy (percent) for each epoch, those before a resume
        included.

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
    """Tests a trained network and writes it as the result of its task, the file ``RESULT`` in ``task.done``.

    The file holds the tensors of the space of ``data``, the kept weights by ``<kept>/<name in the state dict>``, and a
    record with the entries network, index, parameters (their number), curve, kept (name, epoch and test accuracy of
    each), classes, shape and space.

    Args:
        job: the job that the network was trained for.
        task: its Task; this call finishes it.
        data: a RealSet in the space and shape of the network's inputs; its test images give the accuracy.
        network: a network of the job's name on the device of ``data``; each kept state is loaded into it in turn.
        kept: a dict with ``weights`` (a state dict) and ``epoch`` for each entry of ``settings.keep``, by
            ``str(entry)``.
        curve: rows of epoch, loss and training accuracy (percent, or None).
        classifies: whether the network's logits are the classes of ``data``, so that it has a test accuracy; otherwise
            its classifier is not stored, and accuracy and classes are None.
        beside: tensors by name that are stored beside the weights, such as a trajectory.
        more: further entries of the record, such as ``knn``.
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
