"""Raw images of one shape as those of another: first the channels, then the size; differentiable and deterministic."""

from functools import lru_cache

import torch
from torch import Tensor

from distillation.augment.resample import antialiased
from distillation.runtime.errors import BadInput

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)


def adapt(raw: Tensor, channels: int, size: int) -> Tensor:
    """Raw images (N, C, H, H) as (N, channels, size, size)."""
    return resize(to_channels(raw, channels), size)


def to_channels(raw: Tensor, channels: int) -> Tensor:
    """Grey as RGB by repetition, RGB as grey by its luma. Raises BadInput for any other pair."""
    if raw.shape[1] == channels:
        return raw
    if (raw.shape[1], channels) == (1, 3):
        return raw.expand(-1, 3, -1, -1)
    if (raw.shape[1], channels) == (3, 1):
        weights = torch.tensor(LUMA, dtype=raw.dtype, device=raw.device).view(1, 3, 1, 1)
        return (raw * weights).sum(1, keepdim=True)
    raise BadInput(f"images of {raw.shape[1]} channels cannot be adapted to {channels}: only grey and RGB can.")


def resize(images: Tensor, size: int) -> Tensor:
    """Square images (N, C, H, H) as (N, C, size, size), bilinear, with antialiasing where they shrink.

    What F.interpolate(mode="bilinear", antialias=True) computes, to rounding.
    """
    if images.shape[2:] == (size, size):
        return images
    weights = _weights(images.shape[2], size, images.dtype, images.device)
    return weights @ images @ weights.T


@lru_cache(maxsize=16)
def _weights(old, new, dtype, device):
    """Weights (new, old) of the whole side, rounded from float64."""
    start, length = torch.tensor([[0.0], [float(old)]], dtype=torch.float64)
    return antialiased(start, length, old, new)[0, 0].to(device, dtype)
