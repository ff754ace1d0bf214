"""Crops as boxes, drawn apart from being cut out, so that they can be stored and made again.

A box is (top, left, height, width) in whole pixels; where it reaches beyond its image there is 0, or what is asked for.
What is cut out has the size of the image again, bilinearly.
"""

import math

import torch
from torch import Tensor

from distillation.augment.resample import interpolation

_STRETCH = math.log(4 / 3)
_TRIES = 10


def whole(count: int, size: int) -> Tensor:
    """Boxes (count, 4) int64 that change nothing."""
    return torch.tensor([0, 0, size, size]).repeat(count, 1)


def padded(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Boxes of the image's own size, moved by up to an eighth of it (4 at 32 px): random crops of a padded image."""
    reach = round(size / 8)
    moves = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    return torch.cat([moves, torch.full((count, 2), size)], 1)


def resized(count: int, size: int, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Boxes inside the image, of a share of it within ``area`` (least, most), sides 3:4 to 4:3: random resized crops.

    As torchvision draws them: the share uniform, the logarithm of width by height too, the first of ten tries that fits,
    else the whole image.
    """
    share, stretch = torch.rand(2, count, _TRIES, dtype=torch.float64, generator=generator)
    least, most = area
    pixels = size**2 * (least + (most - least) * share)
    ratio = ((2 * stretch - 1) * _STRETCH).exp()
    sides = torch.stack([(pixels / ratio).sqrt(), (pixels * ratio).sqrt()], 2).round().long()
    fits = ((sides > 0) & (sides <= size)).all(2)
    sides = sides[torch.arange(count), fits.int().argmax(1)]
    sides[~fits.any(1)] = size
    room = torch.rand(count, 2, dtype=torch.float64, generator=generator) * (size - sides + 1)
    return torch.cat([room.long(), sides], 1)


def cut(images: Tensor, boxes: Tensor, beyond: Tensor | None = None) -> Tensor:
    """Boxes (N, 4) of images (N, C, S, S), or one (1, 4) for all, as (N, C, S, S).

    ``beyond`` (1, C, 1, 1) stands where a box reaches beyond its image; None: 0.

    What F.interpolate(align_corners=False) gives of a slice, to rounding; exactly, where nothing is resized.
    """
    size = images.shape[2]
    top, left, height, width = boxes.to(images.device, images.dtype).T
    down, across = interpolation(top, height, size), interpolation(left, width, size)
    found = down @ images @ across.mT
    if beyond is None:
        return found
    inside = (down.sum(3, keepdim=True) > 0) & (across.sum(3).unsqueeze(2) > 0)
    return torch.where(inside, found, beyond)
