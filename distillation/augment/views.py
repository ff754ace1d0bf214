"""Augmented views of a batch that a student and its teacher share: cropped, mirrored, mixed with each other.

A View holds all draws of one batch, so that labels can be stored for exactly these images (FKD, ECCV 2022) or computed
on the fly. Crops and mirrors are each image's own. The mixture is one for the batch: mixup adds to each image another
of the batch, cutmix pastes a window of it.
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


class ViewSettings(Section):
    """The distribution of the views of a batch.

    Attributes:
        augment: ``none``, ``crop_flip`` (random crop with black padding of an eighth, and mirror) or ``rrc`` (random resized
            crop, and mirror).
        crop: the least fraction of the area that ``rrc`` keeps.
        mix: ``none``, ``mixup`` or ``cutmix``, with a fraction from Beta(alpha, alpha).
        alpha: the parameter of that distribution.
    """

    augment: Literal["none", "crop_flip", "rrc"]
    crop: float = Field(gt=0, le=1)
    mix: Literal["none", "mixup", "cutmix"]
    alpha: Positive


@dataclass(frozen=True)
class View:
    """The draws of a batch of n images, on the CPU.

    Attributes:
        boxes: (n, 4) int64, see ``crops``.
        mirror: (n,) bool.
        partners: (n,) int64, the index in the batch of the image that each is mixed with.
        weight: () float32, the fraction of the image itself in the mixture; 1 without mixup.
        window: (4,) int64 (top, left, bottom, right), the pixels that come from the partner; empty without cutmix.
    """

    boxes: Tensor
    mirror: Tensor
    partners: Tensor
    weight: Tensor
    window: Tensor


def draw(count: int, size: int, settings: ViewSettings, flip: bool, generator: torch.Generator) -> View:
    """Draws a View.

    Args:
        count: number of images.
        size: pixels of a side.
        settings: the distribution.
        flip: whether a mirrored image keeps its class; False mirrors none.
        generator: a CPU generator.
    """
    mirror = torch.rand(count, generator=generator) < 0.5
    partners = torch.randperm(count, generator=generator)
    fraction, corner = _fraction(settings.alpha, generator), torch.randint(size, (2,), generator=generator)
    boxes = _boxes(count, size, settings, generator)
    weight = torch.tensor(fraction if settings.mix == "mixup" else 1.0)
    side = int(size * (1 - fraction) ** 0.5) if settings.mix == "cutmix" else 0
    window = torch.cat([corner - side // 2, corner + side // 2]).clamp(0, size)
    return View(boxes, mirror & flip & (settings.augment != "none"), partners, weight, window)


def show(images: Tensor, view: View, pad_value: Tensor | None = None) -> Tensor:
    """Applies a View to images.

    Args:
        images: (n, C, S, S).
        view: the draws.
        pad_value: (1, C, 1, 1), the value of the padding of crops; None: 0.

    Returns:
        (n, C, S, S).
    """
    device, size = images.device, images.shape[2]
    images = crops.cut(images, view.boxes, pad_value)
    images = torch.where(view.mirror.to(device).view(-1, 1, 1, 1), images.flip(3), images)
    partners = images[view.partners.to(device)]
    top, left, bottom, right = view.window.tolist()
    steps = torch.arange(size, device=device)
    inside = ((steps >= top) & (steps < bottom)).unsqueeze(1) & (steps >= left) & (steps < right)
    mixed = torch.lerp(partners, images, view.weight.to(device))
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
