"""Crops as boxes, drawn apart from their application, so that they can be stored and applied again.

A box is (top, left, height, width) in whole pixels; outside its image it is padded. A crop is resized bilinearly to the size
of the image.
"""

import math

import torch
from torch import Tensor

from distillation.augment.resample import interpolation

_STRETCH = math.log(4 / 3)  # as torchvision's RandomResizedCrop, also the tries
_TRIES = 10


def whole(count: int, size: int) -> Tensor:
    """Boxes (count, 4) int64 of the whole image, of ``size`` pixels a side."""
    return torch.tensor([0, 0, size, size]).repeat(count, 1)


def padded(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draws boxes of the image's own size, moved by up to an eighth of it (4 at 32 px): random crops of a padded image.

    Args:
        count: number of boxes.
        size: pixels of a side of the images.
        generator: a CPU generator.

    Returns:
        (count, 4) int64.
    """
    reach = round(size / 8)
    moves = torch.randint(-reach, reach + 1, (count, 2), generator=generator)
    return torch.cat([moves, torch.full((count, 2), size)], 1)


def resized(count: int, size: int, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Draws boxes inside the image with sides of 3:4 to 4:3: random resized crops.

    As in torchvision, the area and the logarithm of width by height are uniform, and the first of ten tries that fits is
    taken, else the whole image.

    Args:
        count: number of boxes.
        size: pixels of a side of the images.
        area: least and greatest fraction of the image's area, in (0, 1].
        generator: a CPU generator.

    Returns:
        (count, 4) int64.
    """
    fraction, stretch = torch.rand(2, count, _TRIES, dtype=torch.float64, generator=generator)
    least, most = area
    pixels = size**2 * (least + (most - least) * fraction)
    ratio = ((2 * stretch - 1) * _STRETCH).exp()
    sides = torch.stack([(pixels / ratio).sqrt(), (pixels * ratio).sqrt()], 2).round().long()
    fits = ((sides > 0) & (sides <= size)).all(2)
    sides = sides[torch.arange(count), fits.int().argmax(1)]
    sides[~fits.any(1)] = size
    room = torch.rand(count, 2, dtype=torch.float64, generator=generator) * (size - sides + 1)
    return torch.cat([room.long(), sides], 1)


def cut(images: Tensor, boxes: Tensor, pad_value: Tensor | None = None) -> Tensor:
    """Crops images to boxes and resizes the crops to the images' size.

    The result is that of F.interpolate(align_corners=False) on a slice: exact without resizing, else to rounding.

    Args:
        images: (N, C, S, S).
        boxes: (N, 4), or (1, 4) for all images.
        pad_value: (1, C, 1, 1), the value outside an image; None: 0.

    Returns:
        (N, C, S, S).
    """
    size = images.shape[2]
    top, left, height, width = boxes.to(images.device, images.dtype).T
    down, across = interpolation(top, height, size), interpolation(left, width, size)
    crops = down @ images @ across.mT
    if pad_value is None:
        return crops
    inside = (down.sum(3, keepdim=True) > 0) & (across.sum(3).unsqueeze(2) > 0)
    return torch.where(inside, crops, pad_value)
