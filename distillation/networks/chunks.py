"""Functions of more images than memory holds at once."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_chunks(function: Callable[[Tensor], Tensor], images: Tensor, size: int) -> Tensor:
    """Applies ``function`` to ``size`` images at a time and concatenates the results.

    Args:
        function: from images (n, C, H, W), or from their indices (n,), to a Tensor (n, ...).
        images: (N, C, H, W), in memory or in files, or their indices (N,).
        size: number of images at a time.

    Returns:
        (N, ...).
    """
    return torch.cat([function(part) for part in images.split(size)])
