"""Augmented views of a batch that a student and its teacher share: cropped, mirrored, mixed with each other.

A View holds all random numbers of one batch, so that a teacher's labels can be stored for exactly these images (FKD,
ECCV 2022) or computed while the student trains (online). Each image has a crop and a mirror of its own. The mixture is
one for the batch: mixup adds a share of another image of the batch to each image, cutmix pastes a window of it.

Self-supervised training has another View, which is a recipe: ``distillation.teachers.selfsupervised.views``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from distillation.augment import crops
from distillation.bounds import Positive
from distillation.params import Section
from distillation.runtime.transfers import to_device


class ViewSettings(Section):
    """The distribution of the views of a batch.

    Attributes:
        augment: ``none``, ``crop_flip`` (random crop with black padding of an eighth, and mirror) or ``rrc`` (random
            resized crop, and mirror).
        crop: the least fraction of the area that ``rrc`` keeps.
        mix: ``none``, ``mixup`` or ``cutmix``. A fraction from Beta(alpha, alpha), one for the batch, is the weight of
            each image itself (mixup), or the area of it that stays (cutmix).
        alpha: the parameter of that distribution; 1 is uniform.
    """

    augment: Literal["none", "crop_flip", "rrc"]
    crop: float = Field(gt=0, le=1)
    mix: Literal["none", "mixup", "cutmix"]
    alpha: Positive


@dataclass(frozen=True)
class View:
    """The random numbers of the views of a batch of n images, on the CPU; ``draw`` makes them, ``show`` applies them.

    Attributes:
        boxes: (n, 4) int64, see ``crops``.
        mirror: (n,) bool, which images are mirrored.
        partners: (n,) int64, the index in the batch of the image that each is mixed with.
        weight: () float32, the fraction of the image itself in the mixture; 1 without mixup.
        window: (4,) int64 (top, left, bottom, right), the pixels that come from the partner, the last two exclusive;
            of no area without cutmix.
    """

    boxes: Tensor
    mirror: Tensor
    partners: Tensor
    weight: Tensor
    window: Tensor


def draw(count: int, size: int, settings: ViewSettings, flip: bool, generator: torch.Generator) -> View:
    """Draws the View of a batch.

    Args:
        count: number of images n.
        size: pixels of a side of the images.
        settings: the distribution.
        flip: whether a mirrored image keeps its class; False mirrors none.
        generator: a CPU generator.
    """
    # These are drawn under every setting, and the boxes last, since their numbers depend on the kind of crop. A
    # generator so gives the same mirrors and partners with and without crops and mixtures.
    mirror = torch.rand(count, generator=generator) < 0.5
    partners = torch.randperm(count, generator=generator)
    fraction, corner = _fraction(settings.alpha, generator), torch.randint(size, (2,), generator=generator)
    boxes = _boxes(count, size, settings, generator)
    weight = torch.tensor(fraction if settings.mix == "mixup" else 1.0)
    side = int(size * (1 - fraction) ** 0.5) if settings.mix == "cutmix" else 0
    # As in CutMix, ``corner`` is the window's centre, and the image cuts off what reaches beyond it. The teacher labels
    # the mixed image itself, so no label needs the area that remains.
    window = torch.cat([corner - side // 2, corner + side // 2]).clamp(0, size)
    return View(boxes, mirror & flip & (settings.augment != "none"), partners, weight, window)


def show(images: Tensor, view: View, pad_value: Tensor | None = None) -> Tensor:
    """Applies a View to images: crop, mirror, then mixture. Differentiable.

    Args:
        images: (n, C, S, S) floating-point, in any space, on any device.
        view: the random numbers of these n images.
        pad_value: (1, C, 1, 1), the value of the padding of crops; None: 0.

    Returns:
        (n, C, S, S).
    """
    device, size = images.device, images.shape[2]
    images = crops.cut(images, view.boxes, pad_value)
    images = torch.where(to_device(view.mirror, device).view(-1, 1, 1, 1), images.flip(3), images)
    partners = images[to_device(view.partners, device)]
    top, left, bottom, right = view.window.tolist()  # on the CPU, so that nothing waits for the device
    steps = torch.arange(size, device=device)
    inside = ((steps >= top) & (steps < bottom)).unsqueeze(1) & (steps >= left) & (steps < right)
    mixed = torch.lerp(partners, images, to_device(view.weight, device))
    return torch.where(inside, partners, mixed)


def _boxes(count: int, size: int, settings: ViewSettings, generator: torch.Generator) -> Tensor:
    if settings.augment == "crop_flip":
        return crops.padded(count, size, generator)
    if settings.augment == "rrc":
        return crops.resized(count, size, (settings.crop, 1.0), generator)
    return crops.whole(count, size)


def _fraction(alpha: float, generator: torch.Generator) -> float:
    """Draws a number from Beta(alpha, alpha) by numpy: torch's own takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
