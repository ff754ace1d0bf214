"""Conversion of raw images to another shape: first the channels, then the size; differentiable and deterministic."""

from functools import lru_cache

import torch
from torch import Tensor

from distillation.augment.resample import antialiased
from distillation.runtime.errors import BadInput
from distillation.runtime.transfers import to_device

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)


def adapt(raw: Tensor, channels: int, size: int) -> Tensor:
    """Converts square raw images to the channels and size that a teacher takes; see ``Pool.take``.

    Args:
        raw: (N, C, H, H), C 1 or 3 if ``channels`` differs; floating-point values in [0, 1], not normalised.
        channels: of the result, 1 or 3 if C differs.
        size: pixels of a side of the result.

    Returns:
        (N, channels, size, size), differentiable in ``raw``; ``raw`` itself if nothing changes.

    Raises:
        BadInput: as ``to_channels``.
    """
    return resize(to_channels(raw, channels), size)


def to_channels(raw: Tensor, channels: int) -> Tensor:
    """Converts images from grey to RGB by repetition, or from RGB to grey by luma.

    Args:
        raw: (N, C, H, W), floating-point.
        channels: of the result.

    Returns:
        (N, channels, H, W). RGB from grey is an expanded view of ``raw``, which shares its memory.

    Raises:
        BadInput: C and ``channels`` differ and are not 1 and 3.
    """
    if raw.shape[1] == channels:
        return raw
    if (raw.shape[1], channels) == (1, 3):
        return raw.expand(-1, 3, -1, -1)
    if (raw.shape[1], channels) == (3, 1):
        return (raw * _luma(raw.dtype, raw.device)).sum(1, keepdim=True)
    raise BadInput(f"images of {raw.shape[1]} channels cannot be adapted to {channels}: only grey and RGB can.")


def resize(images: Tensor, size: int) -> Tensor:
    """Resizes square images (N, C, H, H) to (N, C, size, size), bilinearly, with antialiasing if they shrink.

    The result equals F.interpolate(mode="bilinear", antialias=True) up to rounding. Images of this size already are
    returned as they are.
    """
    if images.shape[2:] == (size, size):
        return images
    # Images are square, so the weights of a column are those of a row.
    weights = _weights(images.shape[2], size, images.dtype, images.device)
    return weights @ images @ weights.T


@lru_cache(maxsize=16)  # the numbers travel to a GPU once, not at every step
def _luma(dtype: torch.dtype, device: torch.device) -> Tensor:
    """LUMA as (1, 3, 1, 1)."""
    return to_device(torch.tensor(LUMA, dtype=dtype), device).view(1, 3, 1, 1)


@lru_cache(maxsize=16)
def _weights(old: int, new: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The weights (new, old) that resize a side of ``old`` pixels to ``new`` ones, rounded from float64."""
    start, length = torch.tensor([[0.0], [float(old)]], dtype=torch.float64)
    return to_device(antialiased(start, length, old, new)[0, 0].to(dtype), device)
