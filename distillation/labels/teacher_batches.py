"""Lessons: batches of a set's images as a student gets them, with a teacher's logits for exactly these.

Logits are computed on the fly (OnlineBatches) or read (StoredBatches; FKD, Shen and Xing, ECCV 2022). What is read was
drawn and labelled by an OnlineBatches named ``fkd``, see ``storing``. Both classes are a ``training.loop.Lesson``, and
have ``count``, the number of images of an epoch.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from distillation.augment.views import View, ViewSettings, draw, show
from distillation.data import valid
from distillation.runtime import tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.teachers.pool import FILE as TEACHERS

if TYPE_CHECKING:
    from distillation.data.spaces import Space

_OF_IMAGES = ("order", "boxes", "mirror", "partners", "logits")  # what is stored: a row for each image of an epoch
_OF_BATCHES = ("weight", "window")  # and for each batch
NAMES = (*_OF_IMAGES, *_OF_BATCHES)
STORED = torch.float16  # of logits, as published


class OnlineBatches:
    """Batches that are drawn and labelled when they are used.

    Any batch can be drawn at any time, since its generators are named by epoch and place: no state has to be saved.

    Args:
        images: (N, C, S, S), in ``space``.
        space: of the images.
        logits_of: function of images (n, C, S, S) that returns logits (n, K), see ``predict.teacher_logits``.
        views: settings of the augmentation.
        batch: images in a batch; the last of an epoch may have fewer.
        flip: whether a mirrored image keeps its class.
        seed: seed of every draw (order, augmentation).
        name: prefix of the draws' names.
    """

    def __init__(
        self,
        images: Tensor,
        space: "Space",
        logits_of: Callable[[Tensor], Tensor],
        views: ViewSettings,
        batch: int,
        flip: bool,
        seed: int,
        name: str,
    ) -> None:
        self.images, self.logits_of, self.views, self.batch, self.flip = images, logits_of, views, batch, flip
        self.pad_value = space.to(images.device).pad_value()
        self.seed, self.name = seed, name
        self.count = len(images)
        self.steps = math.ceil(self.count / batch)

    def __call__(self, epoch: int, place: int) -> tuple[Tensor, Tensor]:
        """Returns images (n, C, S, S) and the teacher's logits (n, K) of the batch at a place of an epoch."""
        return self.labelled(*self.drawn(epoch, place))

    def drawn(self, epoch: int, place: int) -> tuple[Tensor, View]:
        """Draws the indices (n,) of a batch and its View, on the CPU."""
        order = torch.randperm(self.count, generator=generator(self.seed, self.name, "order", epoch))
        index = order[place * self.batch : (place + 1) * self.batch]
        draws = generator(self.seed, self.name, "augment", epoch * self.steps + place)
        return index, draw(len(index), self.images.shape[2], self.views, self.flip, draws)

    def labelled(self, index: Tensor, view: View) -> tuple[Tensor, Tensor]:
        """Returns images (n, C, S, S) under a View, and their logits (n, K).

        Args:
            index: indices (n,) of the images in the set.
            view: their augmentation, as ``drawn`` returns it.
        """
        seen = show(self.images[to_device(index, self.images.device)], view, self.pad_value)
        return seen, self.logits_of(seen)


class StoredRecord(valid.Record):
    """What is read of the record of a file of stored labels.

    Attributes:
        epochs: number of stored epochs.
        batch: images in a batch.
    """

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)


class StoredBatches:
    """Batches that were drawn and labelled before. One epoch of them is in memory at a time.

    Args:
        images: (N, C, S, S), in ``space``: those that were labelled.
        space: of the images.
        path: the file of stored labels.
        epochs: number of epochs that a student trains.

    Raises:
        BadInput: fewer epochs are stored, or the file is damaged. Each epoch is checked when it is first read.
    """

    def __init__(self, images: Tensor, space: "Space", path: Path, epochs: int) -> None:
        self.images, self.path, self.epoch = images, path, None
        self.pad_value = space.to(images.device).pad_value()
        self.count = len(images)
        with tensors.opened(path) as view:
            valid.check_record(StoredRecord, view.info, path)
            stored, self.batch = view.info["epochs"], view.info["batch"]
            names = view.names
        if epochs > stored:
            raise BadInput(
                f"evaluate.standard.fkd.epochs is {epochs}, but labels are stored for {stored} (relabel.fkd.epochs)."
            )
        valid.check_names(names, [f"{epoch}/{name}" for epoch in range(epochs) for name in NAMES], path)
        self.steps = math.ceil(self.count / self.batch)

    def __call__(self, epoch: int, place: int) -> tuple[Tensor, Tensor]:
        """Returns images (n, C, S, S) and the teacher's logits (n, K) of the batch at a place of an epoch."""
        if epoch != self.epoch:  # an epoch is read and checked once, then cut into batches
            with tensors.opened(self.path) as view:
                content = {name: view.get(f"{epoch}/{name}") for name in NAMES}
            self._check(content, f"{self.path}, epoch {epoch},")
            self.content, self.epoch = content, epoch
        index, view, logits = self._batch(place)
        seen = show(self.images[to_device(index, self.images.device)], view, self.pad_value)
        return seen, to_device(logits, self.images.device).float()

    def _check(self, content: dict[str, Tensor], subject: str) -> None:
        """Raises BadInput unless the tensors of an epoch are those of batches of the images."""
        count, side = self.count, self.images.shape[2]
        last = torch.arange(count) // self.batch  # of the batches, the last may be shorter
        # partners are indices in a batch: the last batch, if it is shorter, has fewer
        room = torch.where(last == self.steps - 1, count - self.batch * (self.steps - 1), self.batch)
        classes = content["logits"].shape[-1:]
        expected = {  # shape, least and greatest number
            "order": ((count,), 0, count - 1),
            "boxes": ((count, 4), torch.tensor([-side, -side, 1, 1]), side),
            "mirror": ((count,), 0, 1),
            "partners": ((count,), 0, room - 1),
            "logits": ((count, *classes), -math.inf, math.inf),
            "weight": ((self.steps,), 0, 1),
            "window": ((self.steps, 4), 0, side),
        }
        for name, (shape, low, high) in expected.items():
            values = content[name]
            if values.shape != shape or not values.numel():
                raise BadInput(f"{subject} has {name} {tuple(values.shape)}, but {shape} are right.")
            if not bool(((values >= low) & (values <= high)).all()) or not bool(values.isfinite().all()):
                raise BadInput(f"{subject} has {name} that are not those of {count} images of {side} px.")

    def _batch(self, place: int) -> tuple[Tensor, View, Tensor]:
        """Returns indices (n,), View and logits (n, K) float16 of the batch at a place of the present epoch."""
        part = slice(place * self.batch, (place + 1) * self.batch)
        index, boxes, mirror, partners, logits = (self.content[name][part] for name in _OF_IMAGES)
        weight, window = (self.content[name][place] for name in _OF_BATCHES)
        return index.long(), View(boxes.long(), mirror, partners.long(), weight, window.long()), logits


def packed(index: Tensor, view: View, logits: Tensor) -> dict[str, Tensor]:
    """Converts one labelled batch to the tensors that are stored; an epoch joins those of its batches.

    Args:
        index: indices (n,) of the images in the set, in the order of the batch.
        view: the augmentation under which the teacher saw them.
        logits: the teacher's logits (n, K).

    Returns:
        The tensors of ``NAMES``. ``order`` (the indices), ``boxes``, ``mirror``, ``partners`` and ``logits`` (float16, on
        the CPU) have a row for each image, ``weight`` and ``window`` one for the batch (see View).
    """
    return {
        "order": index.int(),
        "boxes": view.boxes.short(),
        "mirror": view.mirror,
        "partners": view.partners.int(),
        "logits": logits.to(STORED).cpu(),
        "weight": view.weight[None],
        "window": view.window[None].short(),
    }


def labels_of(path: Path, kind: str) -> Path | None:
    """Returns the file of labels beside a set.

    Args:
        path: the file of the set.
        kind: the recorded kind of its labels.

    Returns:
        The file of the teachers themselves (online), or of their stored logits (fkd); None for other kinds.
    """
    return {"online": path.with_name(TEACHERS), "fkd": path.with_suffix(".labels.safetensors")}.get(kind)
