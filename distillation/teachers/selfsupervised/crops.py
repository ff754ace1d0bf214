"""Crops of a batch resized to any size, two matrix products, as PIL resizes: with antialiasing; the same on every device."""

import torch
from torch import Tensor

from distillation.augment.resample import antialiased


def cut(images: Tensor, boxes: Tensor, size: int, mirror: Tensor) -> Tensor:
    """The boxes (N, 4) of images (N, C, S, S) resized to (N, C, size, size), those of ``mirror`` (N,) bool mirrored."""
    top, left, height, width = boxes.to(images.device, images.dtype).T
    rows, columns = (antialiased(*side, images.shape[2], size) for side in ((top, height), (left, width)))
    columns = torch.where(mirror.to(images.device).view(-1, 1, 1, 1), columns.flip(2), columns)
    return rows @ images @ columns.mT
