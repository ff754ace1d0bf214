"""Random resized crops of a batch: boxes are drawn apart from being cut out, which is two matrix products.

As torchvision's RandomResizedCrop and the resizing of PIL have them, with antialiasing; the same on every device.
"""

import math

import torch

_STRETCH = math.log(4 / 3)
_TRIES = 10


def boxes(count, size, area, generator):
    """(top, left, height, width) in whole pixels of ``count`` boxes inside an image of ``size``: (count, 4) int64.

    Their share of the image is uniform in ``area`` (least, most), the logarithm of width by height between 3:4 and 4:3:
    the first of ten tries that fits, else the whole image.
    """
    share, stretch = torch.rand(2, count, _TRIES, dtype=torch.float64, generator=generator)
    least, most = area
    pixels = size**2 * (least + (most - least) * share)
    ratio = ((2 * stretch - 1) * _STRETCH).exp()
    sides = torch.stack([(pixels / ratio).sqrt(), (pixels * ratio).sqrt()], 2).round().long()
    fits = ((sides > 0) & (sides <= size)).all(2)
    sides = sides[torch.arange(count), fits.int().argmax(1)]
    sides[~fits.any(1)] = size
    room = torch.rand(count, 2, dtype=torch.float64, generator=generator) * (size - sides + 1)
    return torch.cat([room.long(), sides], 1)


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
