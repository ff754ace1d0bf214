"""Crops as boxes, drawn apart from their application, so that they can be stored and applied again.

A box is (top, left, height, width) in whole pixels of the image. Parts of it that lie outside the image are padded. A
crop is resized bilinearly to the size of the image. All boxes are drawn on the CPU. FKD stores them beside the labels
(``views.View``); self-supervised training draws boxes here, too, but resizes the crops with antialiasing.
"""

import math

import torch
from torch import Tensor

from distillation.augment.resample import interpolation
from distillation.runtime.transfers import to_device

_STRETCH = math.log(4 / 3)  # as torchvision's RandomResizedCrop, also the tries
_TRIES = 10


def whole(count: int, size: int) -> Tensor:
    """Boxes (count, 4) int64 of the whole image, of ``size`` pixels a side."""
    return torch.tensor([0, 0, size, size]).repeat(count, 1)


def padded(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draws boxes of the image's own size at random offsets of up to an eighth of it (4 at 32 px) on each axis.

    These are the usual random crops of a padded image.

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
    """Draws boxes of random area inside the image, with width by height from 3:4 to 4:3: random resized crops.

    As in torchvision, the area and the logarithm of width by height are uniform. Ten boxes are tried for each image,
    and the first that fits into it is taken. If none fits, the box is the whole image.

    Args:
        count: number of boxes.
        size: pixels of a side of the images.
        area: least and greatest fraction of the image's area, in (0, 1].
        generator: a CPU generator.

    Returns:
        (count, 4) int64.
    """
    # All tries of all images at once: the amount of random numbers does not depend on which try fits.
    fraction, stretch = torch.rand(2, count, _TRIES, dtype=torch.float64, generator=generator)
    least, most = area
    pixels = size**2 * (least + (most - least) * fraction)
    ratio = ((2 * stretch - 1) * _STRETCH).exp()
    sides = torch.stack([(pixels / ratio).sqrt(), (pixels * ratio).sqrt()], 2).round().long()
    fits = ((sides > 0) & (sides <= size)).all(2)
    sides = sides[torch.arange(count), fits.int().argmax(1)]  # argmax finds the first try that fits
    sides[~fits.any(1)] = size
    room = torch.rand(count, 2, dtype=torch.float64, generator=generator) * (size - sides + 1)
    return torch.cat([room.long(), sides], 1)


def cut(images: Tensor, boxes: Tensor, pad_value: Tensor | None = None) -> Tensor:
    """Crops images to boxes and resizes the crops to the images' size.

    The result is that of slicing the image and F.interpolate(mode="bilinear", align_corners=False), without
    antialiasing: exact if the box has the image's size, else equal up to rounding. It is differentiable in ``images``.

    Args:
        images: (N, C, S, S), floating-point, on any device.
        boxes: (N, 4), or (1, 4) for all images; only boxes of the image's own size
            (``padded``) reach beyond its border.
        pad_value: (1, C, 1, 1), the value outside an image; None: 0.

    Returns:
        (N, C, S, S).
    """
    size = images.shape[2]
    top, left, height, width = to_device(boxes, images.device).to(images.dtype).T
    down, across = interpolation(top, height, size), interpolation(left, width, size)
    crops = down @ images @ across.mT
    if pad_value is None:
        return crops
    # A new pixel outside the image has no weight on any old one.
    inside = (down.sum(3, keepdim=True) > 0) & (across.sum(3).unsqueeze(2) > 0)
    return torch.where(inside, crops, pad_value)
