"""Crops of whole batches, resized to any size with antialiasing as PIL's, by two matrix products.

``augment.crops.cut`` is another function: it resizes to the images' own size, without antialiasing, and pads.
"""

import torch
from torch import Tensor

from distillation.augment.resample import antialiased
from distillation.runtime.transfers import to_device


def cut(images: Tensor, boxes: Tensor, size: int, mirror: Tensor) -> Tensor:
    """Crops images, resizes the crops and mirrors some of them.

    Args:
        images: (N, C, S, S), floating-point, on any device.
        boxes: (N, 4) of top, left, height and width in pixels, inside the images; see ``augment.crops.resized``.
        size: pixels of a side of the result.
        mirror: (N,) bool, which crops are mirrored.

    Returns:
        (N, C, size, size).
    """
    top, left, height, width = to_device(boxes, images.device).to(images.dtype).T
    rows, columns = (antialiased(*side, images.shape[2], size) for side in ((top, height), (left, width)))
    # Mirroring the small weight matrices costs less than mirroring the images.
    columns = torch.where(to_device(mirror, images.device).view(-1, 1, 1, 1), columns.flip(2), columns)
    return rows @ images @ columns.mT
