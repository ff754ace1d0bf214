"""Storage of a pool's logits for every batch of many epochs: the labels of ``fkd``.

The epochs are divided into spans, and each span of each set is one task. A run with more epochs reuses finished spans.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from distillation.augment.views import ViewSettings
from distillation.data.distilled import DistilledSet
from distillation.data.real import loaded
from distillation.data.stored import Form, as_read
from distillation.labels.control import control
from distillation.labels.predict import teacher_logits
from distillation.labels.teacher_batches import OnlineBatches, packed
from distillation.runtime import tensors
from distillation.runtime.work import Task
from distillation.teachers.pool import Pool
from distillation.training.resume import complete

RESULT = "labels.safetensors"
_SPAN = 10  # house: epochs of one task; more epochs later reuse the finished tasks


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of drawing and labelling the batches of one span of epochs.

    Attributes:
        distilled: the file of the distilled set.
        control_from: the folder of the RealSet from which the control is drawn, if that is labelled in place of the
            set; else None.
        pixels: the form of the images, see ``data.stored.as_read``.
        teachers: the file of the pool.
        flip: whether a mirrored image keeps its class.
        views: settings of the augmentation.
        pick: see ``predict.teacher_logits``.
        mode: as ``pick``.
        batch: images in a batch.
        first: first epoch of the span, counted from 0.
        end: the epoch after its last.
    """

    distilled: Path
    control_from: Path | None
    pixels: Form
    teachers: Path
    flip: bool
    views: ViewSettings
    pick: Literal["mean", "one"]
    mode: Literal["eval", "train"]
    batch: int
    first: int
    end: int


def spans(epochs: int) -> list[range]:
    """Returns the ranges of epochs that are one task each: 0 to 9, 10 to 19 and so on up to ``epochs``."""
    return [range(first, min(first + _SPAN, epochs)) for first in range(0, epochs, _SPAN)]


def label(name: str, span: range) -> str:
    """Returns the label of the job that stores a span of epochs of the set in the file ``name``."""
    return f"relabel {name} epochs {span.start}-{span.stop - 1}"


def store(job: Job, task: Task, device: str) -> None:
    """Draws and labels every batch of the job's epochs, resuming from the last checkpoint.

    Writes ``labels.safetensors`` into the result of the task, with the tensors of ``teacher_batches.packed`` for each
    epoch, named ``EPOCH/NAME``.

    Args:
        job: set, teachers and epochs.
        task: holds its checkpoints and its result.
        device: as torch spells it, ``cpu`` or ``cuda:0``.
    """
    images = DistilledSet.load(job.distilled, device)
    if job.control_from:
        images = control(images, loaded(job.control_from, device))
    images = as_read(images, job.pixels)
    logits_of = teacher_logits(Pool(job.teachers.parent, device), images.space, job.pick, job.mode)
    seed = images.info["seed"]  # of the set, not of a student: all students see the same batches
    lesson = OnlineBatches(images.images, images.space, logits_of, job.views, job.batch, job.flip, seed, "fkd")
    with task.result() as folder:
        tensors.save(folder / RESULT, _labelled(task, lesson, range(job.first, job.end)), {})


def _labelled(task: Task, lesson: OnlineBatches, epochs: range) -> dict[str, Tensor]:
    """Draws and labels the batches of ``epochs``; returns all tensors to be stored, by name."""
    steps = [(epoch, place) for epoch in epochs for place in range(lesson.steps)]
    done: list[dict[str, Tensor]] = []

    def advance() -> dict[str, float]:
        index, view = lesson.drawn(*steps[len(done)])
        done.append(packed(index, view, lesson.labelled(index, view)[1]))
        return {}

    complete(
        task,
        task.start(),
        advance=advance,
        state_dict=lambda: {"done": done},
        load_state_dict=lambda state: done.extend(state["done"]),
        at=lambda: len(done),
        total=len(steps),
        unit="batch",
    )
    content = {}  # an epoch is joined: a student then reads seven tensors an epoch, not seven a batch
    for i, epoch in enumerate(epochs):
        batches = done[i * lesson.steps : (i + 1) * lesson.steps]
        content |= {f"{epoch}/{name}": torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    return content


def stored(tasks: Mapping[str, Task], name: str) -> dict[str, Tensor]:
    """Joins the stored labels of one set.

    Args:
        tasks: finished tasks of jobs of this module, by label.
        name: the name of the set's file, as given to ``label``.

    Returns:
        The tensors of all its epochs, by name.
    """
    content = {}
    for each, task in tasks.items():
        if each.startswith(f"relabel {name} "):
            folder = task.done
            content |= tensors.load(folder / RESULT)[0]
    return content
