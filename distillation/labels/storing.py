"""Storing what teachers say of every batch of many epochs: the labels of ``fkd``."""

import torch

from distillation.console.progress import Progress
from distillation.labels.lessons import packed
from distillation.runtime import tensors
from distillation.runtime.work import Task

RESULT = "labels.safetensors"
_SPAN = 10  # epochs that are one task: more epochs asked for later reuse those before


def tasks(name, inputs, epochs, made, every):
    """The Tasks of one set, each with its range of epochs; ``inputs`` are the stage's, ``made`` and ``every`` a Task's."""
    extent = ("params:relabel.fkd.epochs", "params:relabel.control")
    inputs = {key: value for key, value in inputs.items() if key not in extent}
    spans = [range(first, min(first + _SPAN, epochs)) for first in range(0, epochs, _SPAN)]
    return [
        (Task.of(f"relabel {name} epochs {s.start}-{s.stop - 1}", inputs, [name, s.start, s.stop], made, every), s)
        for s in spans
    ]


def store(task, lesson, epochs):
    """Draw and answer every batch of ``epochs`` (a range) of a ``lessons.Online``, resuming between any two batches."""
    steps = [(epoch, place) for epoch in epochs for place in range(lesson.steps)]
    done = (task.start() or {"done": []})["done"]
    with Progress(task.label, len(steps), start=len(done), unit="batch", live=task.folder / "live.csv") as bar:
        for epoch, place in steps[len(done) :]:
            index, view = lesson.drawn(epoch, place)
            done.append(packed(index, view, lesson.answered(index, view)[1]))
            bar.advance()
            if task.due():
                task.checkpoint({"done": done})
    content = {}
    for i, epoch in enumerate(epochs):
        batches = done[i * lesson.steps : (i + 1) * lesson.steps]
        content |= {f"{epoch}/{name}": torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    with task.result() as folder:
        tensors.save(folder / RESULT, content, {})


def stored(tasks):
    """All tensors of finished tasks, by name."""
    content = {}
    for task, _ in tasks:
        content |= tensors.load(task.finished() / RESULT)[0]
    return content
