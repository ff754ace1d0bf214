"""The control of relabelling: random real images that get the same labels as the distilled ones."""

from typing import cast

import torch
from torch import Tensor

from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator


def control(distilled: DistilledSet, data: RealSet) -> DistilledSet:
    """Draws real training images that stand beside a distilled set: as many of each class, or in all if it has no labels.

    All are different; the draw depends on the seed of ``distilled`` alone.

    Returns:
        A set in the space of ``distilled``, class by class, with the images' real labels (None if ``distilled`` has none)
        and without targets. Its record is that of ``distilled``, but for the method: ``random``.

    Raises:
        BadInput: there are fewer training images, in all or of a class, than ``distilled`` has.
    """
    device = data.train.labels.device
    chosen = _random(distilled, data, generator(distilled.info["seed"], "control")).to(device)
    labels = None if distilled.labels is None else data.train.labels[chosen]
    images = distilled.space.encode(cast("Tensor", data.train.images[chosen]).float() / 255)
    info = {key: value for key, value in distilled.info.items() if key not in ("pixels", "image_bytes")}
    return DistilledSet(images, labels, None, distilled.space, {**info, "method": "random"})


def _random(distilled: DistilledSet, data: RealSet, draws: torch.Generator) -> Tensor:
    """Returns the indices of different random training images, as many as the set has of each class, or in all."""
    if distilled.labels is None:
        if len(distilled.images) > len(data.train):
            raise BadInput(
                f"relabel.control wants {len(distilled.images)} real images, but there are {len(data.train)}; set it to false."
            )
        return torch.randperm(len(data.train), generator=draws)[: len(distilled.images)]
    counts = torch.bincount(distilled.labels.cpu(), minlength=len(data.members)).tolist()
    short = [name for name, m, n in zip(data.classes, data.members, counts, strict=True) if len(m) < n]
    if short:
        raise BadInput(f"relabel.control wants more real images of class {short[0]!r} than there are; set it to false.")
    return torch.cat(data.sample(counts, draws))
