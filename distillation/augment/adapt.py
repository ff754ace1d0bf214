"""Raw images of one shape as those of another: first the channels, then the size; differentiable and deterministic."""

from functools import lru_cache

import torch

from distillation.runtime.errors import BadInput

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)


def adapt(raw, channels, size):
    """Raw images (N, C, H, H) as (N, channels, size, size)."""
    return resize(to_channels(raw, channels), size)


def to_channels(raw, channels):
    """Grey as RGB by repetition, RGB as grey by its luma. Raises BadInput for any other pair."""
    if raw.shape[1] == channels:
        return raw
    if (raw.shape[1], channels) == (1, 3):
        return raw.expand(-1, 3, -1, -1)
    if (raw.shape[1], channels) == (3, 1):
        weights = torch.tensor(LUMA, dtype=raw.dtype, device=raw.device).view(1, 3, 1, 1)
        return (raw * weights).sum(1, keepdim=True)
    raise BadInput(f"images of {raw.shape[1]} channels cannot be adapted to {channels}: only grey and RGB can.")


def resize(images, size):
    """Square images (N, C, H, H) as (N, C, size, size), bilinear, with antialiasing where they shrink.

    Two matrix products: what F.interpolate(mode="bilinear", antialias=True) computes, to rounding, but with a gradient
    that is the same every time on a GPU too.
    """
    if images.shape[2:] == (size, size):
        return images
    weights = _weights(images.shape[2], size, images.dtype, images.device)
    return weights @ images @ weights.T


@lru_cache(maxsize=16)
def _weights(old, new, dtype, device):
    """(new, old): the share of each old pixel in each new one, a triangle around the new one's centre."""
    scale = old / new
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    distances = torch.arange(old, dtype=torch.float64) + 0.5 - centres.unsqueeze(1)
    weights = (1 - distances.abs() / max(scale, 1)).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True)).to(device, dtype)
