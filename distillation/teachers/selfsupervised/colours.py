"""Changes of colour, each image of a batch by a number of its own.

Images are (N, C, H, W) in [0, 1] and stay there; numbers are (N,). As torchvision's functional transforms have them: no
image of one channel has a hue or a saturation.
"""

import torch

_GREY = (0.2989, 0.587, 0.114)  # the share of red, green and blue in brightness


def brightness(images, factor):
    """Times ``factor``."""
    return (images * _each(factor, images)).clamp_(0, 1)


def contrast(images, factor):
    """Away from the mean grey of each image (above 1) or towards it."""
    return _mixed(images, grey(images).mean((1, 2, 3), keepdim=True), factor)


def saturation(images, factor):
    """Away from each pixel's grey (above 1) or towards it."""
    return _mixed(images, grey(images), factor) if images.shape[1] == 3 else images


def hue(images, turn):
    """The hue turned around the circle of colours, 1 being the whole of it; lightness and saturation as before."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    most, least = images.amax(1), images.amin(1)
    span = most - least
    by = span.clamp_min(torch.finfo(images.dtype).tiny)
    angle = torch.where(
        most == red,
        (green - blue) / by,
        torch.where(most == green, (blue - red) / by + 2, (red - green) / by + 4),
    )
    angle = angle + 6 * _each(turn, angle)
    ways = ((angle + start).remainder_(6) for start in (5, 3, 1))
    return torch.stack([most - span * torch.minimum(way, 4 - way).clamp_(0, 1) for way in ways], 1)


def grey(images):
    """(N, 1, H, W): how bright each pixel is."""
    if images.shape[1] != 3:
        return images
    red, green, blue = (share * channel for share, channel in zip(_GREY, images.unbind(1), strict=True))
    return (red + green + blue).unsqueeze(1)


def solarize(images):
    """What is brighter than half becomes its negative."""
    return torch.where(images >= 128 / 255, 1 - images, images)


def _mixed(images, other, factor):
    factor = _each(factor, images)
    return (factor * images + (1 - factor) * other).clamp_(0, 1)


def _each(numbers, like):
    """Numbers (N,) so shaped that they broadcast over their images."""
    return numbers.to(like.device, like.dtype).view(-1, *[1] * (like.ndim - 1))
