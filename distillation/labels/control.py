"""The control of relabelling: random real images that the same teachers label in the same way as the distilled ones.

What students reach on the distilled set beyond the control is what distillation adds to the teachers' labels.
"""

from typing import cast

import torch
from torch import Tensor

from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator


def control(distilled: DistilledSet, data: RealSet) -> DistilledSet:
    """Draws the control of a distilled set: different real training images, which are yet to be labelled.

    The draw is named by the seed of the distilled set, and so the same for every kind of labels.

    Args:
        distilled: the set.
        data: the dataset that was distilled, whose images are in memory or in files.

    Returns:
        A set with as many images of each class as ``distilled``, class by class, or as many in all if its images have
        no classes. They are on the device of ``data``, in the space of ``distilled``, with their real classes (None if
        ``distilled`` has none) and without targets. The record is that of ``distilled``, but for ``method``, which is
        ``random``, and for ``pixels`` and ``image_bytes``, which are left out.

    Raises:
        BadInput: there are fewer training images, in all or of a class, than ``distilled`` has.
    """
    device = data.train.labels.device
    chosen = _random(distilled, data, generator(distilled.info["seed"], "control")).to(device)
    labels = None if distilled.labels is None else data.train.labels[chosen]
    images = distilled.space.encode(cast("Tensor", data.train.images[chosen]).float() / 255)
    # these two say how the distilled images were read from files; ``as_read`` sets them for the control, too
    info = {key: value for key, value in distilled.info.items() if key not in ("pixels", "image_bytes")}
    return DistilledSet(images, labels, None, distilled.space, {**info, "method": "random"})


def _random(distilled: DistilledSet, data: RealSet, draws: torch.Generator) -> Tensor:
    """Returns the indices (N,) int64, on the CPU, of different random training images; see ``control``."""
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
