"""One student: a fresh network trained on a set of images and tested on the full real test set.

It is the work of the stages evaluate, baseline and whole: a Job, and ``train``, a function of a Job.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distillation.data.indexed import indices_on
from distillation.data.real import RealSet, loaded
from distillation.evaluation.sets import Noise, Source, Whole
from distillation.evaluation.steps import ending_at_divergence
from distillation.networks.build import build, flops
from distillation.runtime import files, tensors
from distillation.runtime.errors import require_finite
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.training.accuracy import accuracy, class_hits
from distillation.training.loop import Training
from distillation.training.losses import divergence, loss_of
from distillation.training.resume import complete
from distillation.training.settings import LabelSettings, LessonSettings, RegressionSettings

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
    """

    data: Path
    source: Source
    network: str
    seed: int
    protocol: Protocol


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
    protocol, data = job.protocol, loaded(job.data, device)
    epochs, state = protocol.settings.epochs, task.start()
    training = _training(job, data, device)
    # last: loss and accuracy of the last epoch. All of it is in checkpoints, so a resumed student has the same record.
    seen: dict[str, Any] = {"curve": [], "last": [math.nan, math.nan], "best": 0.0}
    every = max(1, epochs // _POINTS)

    def advance() -> dict[str, float] | None:
        if not (finished := training.advance()):
            return None
        seen["last"] = list(finished)
        if training.epoch % every == 0:
            seen["curve"].append([training.epoch, finished[0]])
        # after the loss is recorded, so that the record of a student that diverged shows it
        require_finite(
            {"loss": finished[0]}, f"epoch {training.epoch} of {epochs}", "the learning rate of its protocol"
        )
        if protocol.test_every and (training.epoch % protocol.test_every == 0 or training.done):
            score = accuracy(training.network, data, data.test, protocol.precision)
            seen["best"] = max(seen["best"], score)
        return {"loss": finished[0]}

    def load_state_dict(state: dict[str, Any]) -> None:
        training.load_state_dict(state["training"])
        seen.update(state["seen"])

    with ending_at_divergence(task):
        complete(
            task,
            state,
            advance=advance,
            state_dict=lambda: {"training": training.state_dict(), "seen": seen},
            load_state_dict=load_state_dict,
            at=lambda: training.epoch,
            total=epochs,
            unit="epoch",
        )
    with task.result() as folder:
        info = {"network": job.network, "seed": job.seed}
        tensors.save(folder / WEIGHTS, dict(training.network.state_dict()), info)
        files.save_json(folder / RECORD, _record(job, training, seen, data))


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
