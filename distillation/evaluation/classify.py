"""One student: a fresh network trained on a set of images and tested on the full real test set.

It is the work of the stages evaluate, baseline and whole: a Job, and ``train``, a function of a Job.
"""

import math
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distillation.data.indexed import indices_on
from distillation.data.real import RealSet, loaded
from distillation.evaluation.sets import Chosen, Noise, Source, Whole
from distillation.networks.build import build, flops
from distillation.runtime import files, tensors
from distillation.runtime.errors import Diverged, require_finite
from distillation.runtime.random import generator
from distillation.runtime.stage import Together
from distillation.runtime.work import Task
from distillation.training.accuracy import accuracy, class_hits
from distillation.training.loop import Training
from distillation.training.losses import divergence, loss_of
from distillation.training.settings import LabelSettings, LessonSettings, RegressionSettings
from distillation.training.together import Run, run_all

WEIGHTS, RECORD = "student.safetensors", "record.json"
_POINTS = 100  # house: of a student's curve, at least, if it has as many epochs, and less than twice as many


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The training and testing of students, the same for all cells of a table.

    Attributes:
        kind: how the labels are used. ``hard``: as class numbers, whatever the set holds; another kind: as stored.
        settings: of training; LessonSettings with a ``lesson``, else one of the other two.
        precision: ``fp32`` or ``bf16``, of the forward passes of training and testing.
        compile: whether the network is compiled for training.
        test_every: epochs between the tests whose best is recorded as ``best_test``; 0: none. It is chosen on the test set, as
            APM and the validation of CLOM publish it, and never reported as ``accuracy``.
        lesson: for labels in a file beside the set (``lessons.LESSONS``), else None. A top-level function of a Job, its
            device and whether a mirrored image keeps its class. It returns the lesson of ``Training``, which has the
            number of images of an epoch as ``count``, and the temperature of the divergence.
    """

    kind: str
    settings: LabelSettings | RegressionSettings | LessonSettings
    precision: str
    compile: bool
    test_every: int = 0
    lesson: Callable | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of training one student: all that its bits depend on, but for code and environment.

    Attributes:
        data: folder of the RealSet, whose test split the student is tested on.
        source: the images that it is trained on.
        network: network name.
        seed: names all its draws: initial weights, order of images, augmentation.
        protocol: of training and testing.
        group: the number of networks that are trained at once, this one and copies or other students; 1: it alone.
        place: its place among them, from 0.
    """

    data: Path
    source: Source
    network: str
    seed: int
    protocol: Protocol
    group: int = 1
    place: int = 0


def train(job: Job, task: Task, device: str) -> None:
    """Trains the student of ``job``, resuming from the last checkpoint, and tests it after the last epoch.

    Writes ``student.safetensors`` (its weights) and ``record.json`` (see ``_record``) into the result of the task.

    A student whose loss is no longer finite stops at that epoch and is tested as it is: one of many does not end a stage, and
    to leave it out would flatter the mean. The ``loss`` of its record shows that it diverged.

    Args:
        job: the student.
        task: holds its checkpoints and its result.
        device: as torch spells it, ``cpu`` or ``cuda:0``.
    """
    train_all([job], [task], device)


def train_all(jobs: Sequence[Job], tasks: Sequence[Task], device: str) -> None:
    """Does the work of ``train`` for several students, of which groups are trained at once.

    Args:
        jobs: students of one network, protocol and ``group``.
        tasks: the task of each.
        device: as in ``train``.
    """
    students = [_Student(job, task, device) for job, task in zip(jobs, tasks, strict=True)]
    run_all([student.run for student in students], jobs[0].group)
    for student in students:
        student.finish()


def _images(job: Job) -> Hashable:
    """Tells sets of as many images from others, as far as that is known without reading them."""
    source = job.source
    return len(source.indices) if isinstance(source, Chosen) else type(source).__name__


TOGETHER = Together(
    work=train_all,
    # a group of 1 has one place: its students are never computed at once
    alike=lambda job: (job.network, job.protocol, job.group, _images(job)),
    place=lambda job: job.place if job.group > 1 else 0,
)


class _Student:
    """A student in training, with what its record will say."""

    def __init__(self, job: Job, task: Task, device: str) -> None:
        self.job, self.task, self.data = job, task, loaded(job.data, device)
        self.training = _training(job, self.data, device)
        self.every = max(1, job.protocol.settings.epochs // _POINTS)
        # last: loss and accuracy of the last epoch. All of it is in checkpoints, so a resumed student has the same record.
        self.seen: dict[str, Any] = {"curve": [], "last": [math.nan, math.nan], "best": 0.0}
        self.run = Run(
            task=task, training=self.training, after=self.after, ended=self.ended, beside=self.seen, place=job.place
        )

    def after(self, finished: tuple[float, float]) -> dict[str, float]:
        """Records an epoch; raises Diverged if its loss is not finite."""
        training, seen, protocol = self.training, self.seen, self.job.protocol
        seen["last"] = list(finished)
        if training.epoch % self.every == 0:
            seen["curve"].append([training.epoch, finished[0]])
        # after the loss is recorded, so that the record of a student that diverged shows it
        moment = f"epoch {training.epoch} of {protocol.settings.epochs}"
        require_finite({"loss": finished[0]}, moment, "the learning rate of its protocol")
        if protocol.test_every and (training.epoch % protocol.test_every == 0 or training.done):
            score = accuracy(training.network, self.data, self.data.test, protocol.precision)
            seen["best"] = max(seen["best"], score)
        return {"loss": seen["last"][0]}

    def ended(self, fault: Diverged) -> None:
        """Tells that the student diverged: one of many does not end a stage."""
        print(f"{self.task.label}: {fault}", file=sys.stderr)

    def finish(self) -> None:
        """Tests the student and writes its result."""
        with self.task.result() as folder:
            info = {"network": self.job.network, "seed": self.job.seed}
            tensors.save(folder / WEIGHTS, dict(self.training.network.state_dict()), info)
            files.save_json(folder / RECORD, _record(self.job, self.training, self.seen, self.data))


def _training(job: Job, data: RealSet, device: str) -> Training:
    """Returns the Training of a fresh network on the images of the job."""
    protocol, settings, source = job.protocol, job.protocol.settings, job.source
    if protocol.lesson:
        lesson, temperature = protocol.lesson(job, device, data.info["flip"])
        batch_of, count, loss = None, lesson.count, divergence(settings.loss, temperature)
    else:
        lesson, loss = None, loss_of(settings.loss)
        assert not isinstance(source, Noise)
        batch_of, count = source.images(data, protocol.kind)
    # the same seed starts from the same weights on every set, so that sets are compared in pairs
    network = build(job.network, *data.shape, generator(job.seed, "student", job.network)).to(device)
    return Training(
        network,
        batch_of,
        count,
        loss,
        settings,
        job.seed,
        f"student/{job.network}",
        data.info["flip"],
        protocol.precision,
        protocol.compile,
        lesson,
        # only the whole set may stay in files, which are decoded by indices on the CPU
        order_on=indices_on(data.train.images) if isinstance(source, Whole) else None,
        pad_value=data.space.pad_value(),
    )


def _record(job: Job, training: Training, seen: dict, data: RealSet) -> dict:
    """Tests a finished student and returns its record.

    Returns:
        ``network``, ``seed``; ``accuracy`` on the test split and ``class_accuracy`` of each class (None for a class
        without test images); ``best_test`` if ``test_every`` is above 0; ``train_accuracy`` and ``loss`` of the last
        epoch; ``curve``, pairs of epoch and loss; the optimiser ``steps`` and the ``gflop`` of training. Accuracies are
        in percent.
    """
    protocol = job.protocol
    hits = class_hits(training.network.eval(), data, data.test, protocol.precision)
    sizes = torch.bincount(data.test.labels.cpu(), minlength=len(data.classes))
    # a backward pass counts as two forward ones; a teacher's passes are not counted
    gflop = 3 * training.count * training.epoch * flops(job.network, *data.shape) / 1e9
    score = 100 * int(hits.sum()) / len(data.test)
    return {
        "network": job.network,
        "seed": job.seed,
        "accuracy": score,
        "class_accuracy": [100 * h / n if n else None for h, n in zip(hits.tolist(), sizes.tolist(), strict=True)],
        **({"best_test": max(seen["best"], score)} if protocol.test_every else {}),
        "train_accuracy": seen["last"][1],
        "loss": seen["last"][0],
        "curve": seen["curve"],
        "steps": training.step,
        "gflop": round(gflop, 1),
    }
