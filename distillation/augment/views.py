"""What a batch of images goes through on its way to a student and its teacher: cropped, mirrored, mixed with each other.

A View holds all the draws of one batch, so that labels can be stored for exactly these images (FKD, ECCV 2022) or asked
for on the fly. Crops and mirrors are each image's own. The mixture is one for the batch: mixup adds to each image another
of the batch, cutmix pastes a window of it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from distillation.augment import crops
from distillation.params import Section


class ViewSettings(Section):
    """``augment``: none, crop_flip (random crop with black padding of an eighth, and mirror) or rrc (random resized crop of
    ``crop`` to all of the area, and mirror); ``mix``: none, mixup or cutmix, its share drawn from Beta(alpha, alpha).
    """

    augment: Literal["none", "crop_flip", "rrc"]
    crop: float = Field(gt=0, le=1)
    mix: Literal["none", "mixup", "cutmix"]
    alpha: float = Field(gt=0)


@dataclass(frozen=True)
class View:
    """The draws of a batch of n images, on the CPU.

    Attributes:
        boxes: (n, 4) int64, see ``crops``.
        mirror: (n,) bool.
        partners: (n,) int64, the place in the batch of the image that each is mixed with.
        weight: () float32, the share that each image keeps of itself; 1 but for mixup.
        window: (4,) int64 (top, left, bottom, right), where its partner stands in its place; empty but for cutmix.
    """

    boxes: Tensor
    mirror: Tensor
    partners: Tensor
    weight: Tensor
    window: Tensor


def draw(count, size, settings, flip, generator):
    """A View of ``count`` images of ``size`` pixels; ``flip`` says whether a mirrored image keeps its class."""
    mirror = torch.rand(count, generator=generator) < 0.5
    partners = torch.randperm(count, generator=generator)
    share, corner = _share(settings.alpha, generator), torch.randint(size, (2,), generator=generator)
    boxes = _boxes(count, size, settings, generator)
    weight = torch.tensor(share if settings.mix == "mixup" else 1.0)
    side = int(size * (1 - share) ** 0.5) if settings.mix == "cutmix" else 0
    window = torch.cat([corner - side // 2, corner + side // 2]).clamp(0, size)
    return View(boxes, mirror & flip & (settings.augment != "none"), partners, weight, window)


def show(images, view, beyond=None):
    """Images (n, C, S, S) as ``view`` has them; ``beyond`` (1, C, 1, 1) stands beside a cropped image, None: 0."""
    device, size = images.device, images.shape[2]
    images = crops.cut(images, view.boxes, beyond)
    images = torch.where(view.mirror.to(device).view(-1, 1, 1, 1), images.flip(3), images)
    partners = images[view.partners.to(device)]
    top, left, bottom, right = view.window.tolist()
    steps = torch.arange(size, device=device)
    inside = ((steps >= top) & (steps < bottom)).unsqueeze(1) & (steps >= left) & (steps < right)
    mixed = torch.lerp(partners, images, view.weight.to(device))
    return torch.where(inside, partners, mixed)


def _boxes(count, size, settings, generator):
    if settings.augment == "crop_flip":
        return crops.padded(count, size, generator)
    if settings.augment == "rrc":
        return crops.resized(count, size, (settings.crop, 1.0), generator)
    return crops.whole(count, size)


def _share(alpha, generator):
    """A number from Beta(alpha, alpha); torch has none that draws from a generator of one's own."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
