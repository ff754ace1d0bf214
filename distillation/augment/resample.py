"""Bilinear resampling as matrices: how much of each old pixel along a side is in each new one.

Two matrix products resize an image, and their gradient is the same every time on every device, where that of
F.interpolate adds up atomically on a GPU.
"""

import torch
from torch import Tensor


def triangle(distance: Tensor) -> Tensor:
    """Weights that fall from 1 at distance 0 to 0 at distance 1, on both sides."""
    return (1 - distance.abs()).clamp_min(0)


def interpolation(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Weights (N, 1, size, size) that resize parts of a side to all of its ``size`` pixels, without antialiasing.

    As F.interpolate(align_corners=False) does of a slice. A part begins at ``start`` and has ``length`` pixels, (N,)
    each; where it reaches beyond the side, weights are 0.
    """
    steps = torch.arange(size, device=start.device, dtype=start.dtype)
    start, length = start.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1)
    centres = ((steps.unsqueeze(1) + 0.5) * (length / size) - 0.5).clamp_min(0).minimum(length - 1) + start
    return triangle(centres - steps)


def antialiased(start: Tensor, length: Tensor, size: int, new: int) -> Tensor:
    """Weights (N, 1, new, size) that resize parts of a side of ``size`` pixels to ``new`` ones, as PIL does.

    A triangle around the centre of each new pixel, as wide as the larger of both kinds of pixels. A part begins at
    ``start`` and has ``length`` pixels, (N,) each, all inside the side.
    """
    start, length = start.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1)
    scale = length / new
    centres = (torch.arange(new, device=start.device, dtype=start.dtype).unsqueeze(1) + 0.5) * scale
    old = torch.arange(size, device=start.device, dtype=start.dtype)
    inside = (old >= start) & (old < start + length)
    weights = triangle((old + 0.5 - start - centres) / scale.clamp_min(1)) * inside
    return weights / weights.sum(3, keepdim=True)
