"""The usual augmentations in training: random crop or random resized crop, and mirror.

Each image of a batch has random numbers of its own, drawn on the CPU.
"""

import torch
from torch import Tensor

from distillation.augment import crops
from distillation.augment.siamese import shifted
from distillation.runtime.transfers import to_device


def crop_flip(
    images: Tensor, generator: torch.Generator, flip: bool, pad: int | None = None, pad_value: Tensor | None = None
) -> Tensor:
    """Pads images, crops them back at a random place, and mirrors each with probability 0.5.

    Args:
        images: (N, C, S, S), in any space, on any device.
        generator: a CPU generator.
        flip: whether a mirrored image keeps its class; False mirrors none.
        pad: pixels on every side; None: an eighth of the side (4 at 32 px).
        pad_value: (1, C, 1, 1), the value of the padding; None: 0.

    Returns:
        (N, C, S, S).
    """
    pad = round(images.shape[2] / 8) if pad is None else pad
    moves = torch.randint(-pad, pad + 1, (2, len(images)), generator=generator)
    # Drawn even if ``flip`` is False, so that the numbers that follow are the same.
    mirror = (torch.rand(len(images), generator=generator) < 0.5) & flip
    images = torch.where(to_device(mirror, images.device)[:, None, None, None], images.flip(3), images)
    moves = to_device(moves, images.device)
    if pad_value is None:
        return shifted(images, *moves)
    # Shifting fills with 0. A shifted mask finds these pixels, as images hold zeros of their own.
    inside = shifted(torch.ones_like(images[:, :1]), *moves) > 0
    return torch.where(inside, shifted(images, *moves), pad_value)


def resized_crop_flip(images: Tensor, generator: torch.Generator, flip: bool, crop: float) -> Tensor:
    """Crops images at random, resizes the crops to the images' size, and mirrors each with probability 0.5.

    The boxes are distributed as in torchvision's RandomResizedCrop, with areas from ``crop`` to 1; see
    ``crops.resized``. Crops are resized bilinearly without antialiasing.

    Args:
        images: (N, C, S, S), in any space, on any device.
        generator: a CPU generator.
        flip: whether a mirrored image keeps its class; False mirrors none.
        crop: the least fraction of the area that is kept, in (0, 1].

    Returns:
        (N, C, S, S).
    """
    boxes = crops.resized(len(images), images.shape[2], (crop, 1.0), generator)
    mirror = (torch.rand(len(images), generator=generator) < 0.5) & flip
    images = crops.cut(images, boxes)
    return torch.where(to_device(mirror, images.device)[:, None, None, None], images.flip(3), images)
