"""Application of a function, such as a network, to more images than fit into memory at once."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_chunks(function: Callable[[Tensor], Tensor], images: Tensor, size: int) -> Tensor:
    """Applies ``function`` to ``size`` images at a time and concatenates the results; gradients pass through.

    The result is that of one call, up to rounding, as long as ``function`` treats each image by itself. Batch norms in
    train mode do not.

    Args:
        function: from images (n, C, H, W), or from their indices (n,), to a Tensor (n, ...).
        images: (N, C, H, W), in memory or in files, or their indices (N,) where ``function`` loads them; N is at least
            1.
        size: number of images at a time; the last chunk may have fewer.

    Returns:
        The results (N, ...), in order.
    """
    return torch.cat([function(part) for part in images.split(size)])
