"""Bilinear resampling as matrices: the weight of each old pixel along a side in each new one.

Two matrix products resize an image, and their gradient is deterministic on every device; the gradient of F.interpolate adds
atomically on a GPU.
"""

import torch
from torch import Tensor


def triangle(distance: Tensor) -> Tensor:
    """The weights max(0, 1 - |distance|), of the shape of ``distance``."""
    return (1 - distance.abs()).clamp_min(0)


def interpolation(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Computes the weights that resize parts of a side to the whole side, without antialiasing.

    The result is that of F.interpolate(align_corners=False) on a slice. Weights outside the side are 0.

    Args:
        start: (N,) first pixel of each part.
        length: (N,) number of pixels of each part.
        size: number of pixels of the side.

    Returns:
        (N, 1, size, size): new pixels by old ones.
    """
    steps = torch.arange(size, device=start.device, dtype=start.dtype)
    start, length = start.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1)
    centres = ((steps.unsqueeze(1) + 0.5) * (length / size) - 0.5).clamp_min(0).minimum(length - 1) + start
    return triangle(centres - steps)


def antialiased(start: Tensor, length: Tensor, size: int, new: int) -> Tensor:
    """Computes the weights that resize parts of a side with antialiasing, as PIL does.

    They are a triangle around the centre of each new pixel, as wide as the larger of an old and a new pixel.

    Args:
        start: (N,) first pixel of each part.
        length: (N,) number of pixels of each part, all inside the side.
        size: number of pixels of the side.
        new: number of pixels of the result.

    Returns:
        (N, 1, new, size): new pixels by old ones.
    """
    start, length = start.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1)
    scale = length / new
    centres = (torch.arange(new, device=start.device, dtype=start.dtype).unsqueeze(1) + 0.5) * scale
    old = torch.arange(size, device=start.device, dtype=start.dtype)
    inside = (old >= start) & (old < start + length)
    weights = triangle((old + 0.5 - start - centres) / scale.clamp_min(1)) * inside
    return weights / weights.sum(3, keepdim=True)
