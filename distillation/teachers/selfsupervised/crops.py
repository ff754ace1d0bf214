"""Batched crops resized to any size by two matrix products: antialiased as PIL's, and the same on every device."""

import torch
from torch import Tensor

from distillation.augment.resample import antialiased


def cut(images: Tensor, boxes: Tensor, size: int, mirror: Tensor) -> Tensor:
    """Crops and resizes images.

    Args:
        images: (N, C, S, S).
        boxes: (N, 4) of top, left, height and width in pixels.
        size: pixels of a side of the result.
        mirror: (N,) bool, which crops are mirrored.

    Returns:
        (N, C, size, size).
    """
    top, left, height, width = boxes.to(images.device, images.dtype).T
    rows, columns = (antialiased(*side, images.shape[2], size) for side in ((top, height), (left, width)))
    columns = torch.where(mirror.to(images.device).view(-1, 1, 1, 1), columns.flip(2), columns)
    return rows @ images @ columns.mT
