"""Bilinear resampling as matrices: the weight of each old pixel along a side in each new one.

Two matrix products resize an image, and their gradient is deterministic on every device; the gradient of F.interpolate
adds atomically on a GPU.
"""

import torch
from torch import Tensor


def triangle(distance: Tensor) -> Tensor:
    """The weights max(0, 1 - |distance|), of the shape of ``distance``."""
    return (1 - distance.abs()).clamp_min(0)


def interpolation(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Computes the weights that resize parts of a side to the length of the whole side, without antialiasing.

    For a part inside the side the result is that of F.interpolate(mode="bilinear", align_corners=False) on the slice.
    New pixels whose source lies outside the side get no weight (a row of zeros).

    Args:
        start: (N,) first pixel of each part, floating-point; negative if the part begins before the side.
        length: (N,) number of pixels of each part, in the same dtype and on the same device.
        size: number of pixels of the side.

    Returns:
        (N, 1, size, size), weights of old pixels (last axis) in new ones. The axis of length 1 broadcasts over
        channels.
    """
    steps = torch.arange(size, device=start.device, dtype=start.dtype)
    start, length = start.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1)
    # Clamped to the part, so that its border pixels are repeated: F.interpolate on a slice sees nothing beyond it.
    centres = ((steps.unsqueeze(1) + 0.5) * (length / size) - 0.5).clamp_min(0).minimum(length - 1) + start
    return triangle(centres - steps)


def antialiased(start: Tensor, length: Tensor, size: int, new: int) -> Tensor:
    """Computes the weights that resize parts of a side to ``new`` pixels with antialiasing, as PIL does.

    The weights of a new pixel are a triangle around its centre. The triangle falls to 0 at a distance of one pixel: an
    old one, or a new one if that is larger.

    Args:
        start: (N,) first pixel of each part, floating-point.
        length: (N,) number of pixels of each part, all inside the side; same dtype and device.
        size: number of pixels of the side.
        new: number of pixels of the result.

    Returns:
        (N, 1, new, size), weights of old pixels (last axis) in new ones; each row sums to 1.
    """
    start, length = start.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1)
    scale = length / new
    centres = (torch.arange(new, device=start.device, dtype=start.dtype).unsqueeze(1) + 0.5) * scale
    old = torch.arange(size, device=start.device, dtype=start.dtype)
    inside = (old >= start) & (old < start + length)
    weights = triangle((old + 0.5 - start - centres) / scale.clamp_min(1)) * inside
    return weights / weights.sum(3, keepdim=True)  # triangles are cut off at the ends of the part
