"""Crops of a batch resized to any size, two matrix products, as PIL resizes: with antialiasing; the same on every device."""

import torch


def cut(images, boxes, size, mirror):
    """The boxes (N, 4) of images (N, C, S, S) resized to (N, C, size, size), those of ``mirror`` (N,) bool mirrored."""
    top, left, height, width = boxes.to(images.device, images.dtype).T
    rows, columns = (_weights(*side, images.shape[2], size) for side in ((top, height), (left, width)))
    columns = torch.where(mirror.to(images.device).view(-1, 1, 1, 1), columns.flip(2), columns)
    return rows @ images @ columns.mT


def _weights(start, length, size, wanted):
    """(N, 1, wanted, size): the share of each old pixel in each new one along one side, a triangle as wide as both are."""
    start, length = start.view(-1, 1, 1, 1), length.view(-1, 1, 1, 1)
    scale = length / wanted
    new = torch.arange(wanted, device=start.device, dtype=start.dtype).unsqueeze(1)
    old = torch.arange(size, device=start.device, dtype=start.dtype)
    distance = (old + 0.5 - start - (new + 0.5) * scale).abs()
    inside = (old >= start) & (old < start + length)
    weights = (1 - distance / scale.clamp_min(1)).clamp_min(0) * inside
    return weights / weights.sum(3, keepdim=True)
