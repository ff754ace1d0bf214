"""What all objectives share: their interface, the job of making one teacher, and the writing of its result.

The stage ``teacher`` creates a Job for each teacher of a pool and calls ``Objective.make`` with it and a Task. ``make``
trains (``training_of``, ``run_of``) and calls ``finish``, which writes ``RESULT``; ``writing`` collects these files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from distillation.data.indexed import indices_on
from distillation.data.real import RealSet, Split
from distillation.networks.build import build, parameters
from distillation.params import Section
from distillation.runtime import tensors
from distillation.runtime.device import environment
from distillation.runtime.errors import BadInput, Diverged, require_finite
from distillation.runtime.random import generator
from distillation.runtime.stage import Together
from distillation.runtime.work import Task
from distillation.training.accuracy import accuracy
from distillation.training.group import group_size
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.together import Run, run_all

if TYPE_CHECKING:
    from distillation.params import Compute
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
        together: how several teachers are trained at once, with the results that each has alone; None: they are not.
        many: whether a pool has many teachers, so that ``compute.group`` ``auto`` may group them.
    """

    settings: type[Section]
    make: Callable[["Job", Task, str], None]
    check: Callable[["PoolSettings", str], None] = lambda pool, path: None
    classifies: Callable[["PoolSettings"], bool] = lambda pool: True
    words: Callable[["PoolSettings"], list[str]] = lambda pool: pool.networks
    shape: Callable[["PoolSettings", tuple[int | None, int | None]], tuple[int | None, int | None]] = (
        lambda pool, source: source
    )
    together: Together | None = None
    many: bool = False

    def jobs(self, settings: "PoolSettings", folder: Path, data: RealSet, compute: "Compute") -> "list[Job]":
        """Returns the jobs of all teachers of a pool: each network ``count`` times.

        Args:
            settings: of the pool.
            folder: the folder of the RealSet that they are trained on.
            data: that set.
            compute: the section ``compute``, for the device and the size of groups.
        """
        return [
            # without the pool's other networks and its count, so that one more teacher leaves this one finished
            Job(
                data=folder,
                settings=settings.of_one(network),
                network=network,
                index=index,
                group=group,
                place=index % group,
            )
            for network in settings.networks
            for group in [self._group(settings, network, data, compute)]
            for index in range(settings.count)
        ]

    def _group(self, settings: "PoolSettings", network: str, data: RealSet, compute: "Compute") -> int:
        if not self.together or (compute.group == "auto" and not self.many):
            return 1
        batch = min(settings.training.batch, len(data.train))  # pyright: ignore[reportAttributeAccessIssue]  # TrainSettings
        model = environment(compute.device, compute.threads).device
        return group_size(compute.group, network, data.shape, batch, model)


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that the making of one teacher reads.

    Attributes:
        data: the folder of the RealSet that it is trained on.
        settings: the settings of its pool, reduced to this one teacher (``PoolSettings.of_one``), so that other
            teachers may be added to the pool without training this one again.
        network: its network name; of an imported teacher the library's name of the model.
        index: its number among the teachers of this name, from 0.
        group: the number of networks that are trained at once, this one and copies or other teachers; 1: it alone.
        place: its place among them, from 0.
    """

    data: Path
    settings: "PoolSettings"
    network: str
    index: int
    group: int = 1
    place: int = 0

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


def run_of(job: Job, task: Task, training: Training, kept: dict, after: Callable[[dict], None]) -> Run:
    """Returns the Run of a teacher.

    Its ``beside`` has ``curve``, a row of epoch (from 1), mean loss and training accuracy (percent) for each epoch, and
    ``kept``. A loss that is not finite ends the stage.

    Args:
        job: the teacher.
        task: its Task.
        training: its Training, at step 0.
        kept: what ``after`` is given at first, such as the weights kept so far.
        after: function of ``beside["kept"]``, which it fills; called after each epoch, before the checkpoint that
            follows.
    """
    beside: dict[str, Any] = {"curve": [], "kept": kept}

    def after_epoch(finished: tuple[float, float]) -> dict[str, float]:
        require_finite({"loss": finished[0]}, f"epoch {training.epoch} of {training.settings.epochs}", job.rate)
        beside["curve"].append([training.epoch, *finished])
        after(beside["kept"])
        return {"loss": finished[0], "accuracy": finished[1]}

    def ended(fault: Diverged) -> None:
        fault.task = task
        raise fault

    return Run(task=task, training=training, after=after_epoch, ended=ended, beside=beside, place=job.place)


def together(prepare: Callable[[Job, Task, str], tuple[Run, Callable[[], None]]]) -> Together:
    """Returns how several teachers are trained at once.

    Args:
        prepare: top-level function of a Job, its Task and a device that returns the teacher's Run, and the function that
            writes its result after it.
    """
    return Together(
        work=partial(_train_all, prepare),
        alike=lambda job: (job.network, job.group),
        place=lambda job: job.place if job.group > 1 else 0,
    )


def _train_all(
    prepare: Callable[[Job, Task, str], tuple[Run, Callable[[], None]]], jobs: list[Job], tasks: list[Task], device: str
) -> None:
    """Trains teachers of one network name, of which groups are trained at once, and writes the result of each."""
    pairs = [prepare(job, task, device) for job, task in zip(jobs, tasks, strict=True)]
    run_all([run for run, _ in pairs], jobs[0].group)
    for _, write in pairs:
        write()


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
