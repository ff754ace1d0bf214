"""Changes of colour, each image of a batch by a number of its own.

Images are (N, C, H, W) floating-point in [0, 1], on any device, and so are the results; numbers (``factor``, ``turn``)
are (N,), moved to the images' device. The formulas are those of torchvision's functional transforms, which take one
number for all images. Images of other than three channels count as grey: they have neither hue nor saturation.

kornia's changes take a number an image as well and were raced against these (benchmarks/two_views.py, one thread,
fp32). Its brightness and solarize give the same bits, in 1.4 times and in the same time. Its grey weighs red by 0.299
where torchvision has 0.2989, so that grey, saturation and contrast differ by up to 1e-4; its hue takes 3.5 times as
long.
"""

import torch
from torch import Tensor

from distillation.runtime.transfers import to_device

_GREY = (0.2989, 0.587, 0.114)  # how much red, green and blue weigh in grey: torchvision's


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Images times ``factor``, at least 0, cut off at 1."""
    return (images * _each(factor, images)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Images moved away from their mean grey (``factor`` above 1) or towards it (below 1; 0 gives that grey alone)."""
    return _mixed(images, grey(images).mean((1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Images moved away from the grey of each pixel (``factor`` above 1) or towards it (below 1; 0: grey images)."""
    return _mixed(images, grey(images), factor) if images.shape[1] == 3 else images


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Images with their hue turned by ``turn``, a fraction of the colour circle; value and saturation (HSV) stay."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    most, least = images.amax(1), images.amin(1)
    span = most - least
    # Grey pixels have no hue. Any will do, as their span of 0 multiplies it below; but it must not be 0 / 0.
    by = span.clamp_min(torch.finfo(images.dtype).tiny)
    angle = torch.where(
        most == red,
        (green - blue) / by,
        torch.where(most == green, (blue - red) / by + 2, (red - green) / by + 4),
    )
    # Six units are the whole circle. Each channel falls from ``most`` to ``least`` as the angle moves away from its
    # own.
    angle = angle + 6 * _each(turn, angle)
    ways = ((angle + start).remainder_(6) for start in (5, 3, 1))
    return torch.stack([most - span * torch.minimum(way, 4 - way).clamp_(0, 1) for way in ways], 1)


def grey(images: Tensor) -> Tensor:
    """The grey of each pixel, (N, 1, H, W), a weighted sum of red, green and blue; other images as they are."""
    if images.shape[1] != 3:
        return images
    red, green, blue = (weight * channel for weight, channel in zip(_GREY, images.unbind(1), strict=True))
    return (red + green + blue).unsqueeze(1)


def solarize(images: Tensor) -> Tensor:
    """Images whose values from 128 / 255 upwards are inverted, x to 1 - x."""
    return torch.where(images >= 128 / 255, 1 - images, images)


def _mixed(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    factor = _each(factor, images)
    return (factor * images + (1 - factor) * other).clamp_(0, 1)


def _each(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers (N,) so shaped that they broadcast over their images."""
    return to_device(numbers, like.device).to(like.dtype).view(-1, *[1] * (like.ndim - 1))
