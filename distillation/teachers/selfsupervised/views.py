"""Random views of images for self-supervised learning: whole batches at once, each image with draws of its own.

A View is the recipe of one view: its size and the strengths and probabilities of its changes. ``draw`` draws the random
numbers of a batch on the CPU from one generator; ``show`` applies them. Each image is cropped and resized, and may be
mirrored, jittered in its colours, turned to grey, blurred and solarized, in this order: that of SimCLR and BYOL, which
the others took over.

The View of ``distillation.augment.views`` is another class, of the batches that a student shares with its teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distillation.augment.crops import resized
from distillation.runtime.transfers import to_device
from distillation.teachers.selfsupervised import colours, crops

_JITTERED, _GREY, _MIRRORED = 0.8, 0.2, 0.5  # probabilities, the same in all the papers (SimCLR, appendix A)
_SIGMAS = 0.1, 2.0  # of a blur, in pixels (SimCLR, appendix A)
_STEPS = (colours.brightness, colours.contrast, colours.saturation, colours.hue)


@dataclass(frozen=True)
class View:
    """The recipe of a view.

    Attributes:
        size: pixels of a side of the result.
        area: least and largest fraction of the image's area in a crop, in (0, 1].
        jitter: strengths s of brightness, contrast and saturation, whose factors are uniform in [max(0, 1 - s), 1 + s],
            and of the hue, which turns by [-s, s] of the circle of colours.
        blur: probability of a blur.
        solarize: probability of solarization.
    """

    size: int
    area: tuple[float, float]
    jitter: tuple[float, float, float, float]
    blur: float = 0.0
    solarize: float = 0.0


def asymmetric(size: int, crop: float, blur: Sequence[float]) -> list[View]:
    """Returns the two views of BYOL (appendix B), which MoCo v3, Barlow Twins and DINO took over.

    Args:
        size: pixels of a side of the views.
        crop: least fraction of the image's area, in (0, 1].
        blur: probability of a blur in the first view, and in the second.
    """
    jitter = (0.4, 0.4, 0.2, 0.1)
    return [View(size, (crop, 1.0), jitter, blur[0]), View(size, (crop, 1.0), jitter, blur[1], solarize=0.2)]


@dataclass(frozen=True)
class Drawn:
    """The random numbers of one view of n images, on the CPU.

    Attributes:
        boxes: (n, 4) int64, see ``augment.crops``.
        mirror: (n,) bool.
        jitter: (n, 4) factors of brightness, contrast and saturation, and the turn of the hue; 1, 1, 1 and 0 for images
            that are not jittered.
        order: order of these four changes (numbers 0 to 3), one for the whole batch, so that each runs once.
        grey: (n,) bool, which images become grey.
        sigma: (n,) standard deviation of the blur in pixels; 0: none.
        solarize: (n,) bool, which images are solarized.
    """

    boxes: Tensor
    mirror: Tensor
    jitter: Tensor
    order: list[int]
    grey: Tensor
    sigma: Tensor
    solarize: Tensor


def draw(view: View, count: int, size: int, flip: bool, generator: torch.Generator) -> Drawn:
    """Draws the random numbers of one view of a batch.

    Args:
        view: the recipe.
        count: number of images n.
        size: pixels of a side of the images, before they are cropped.
        flip: whether a mirrored image keeps its class; False mirrors none.
        generator: a CPU generator.
    """
    boxes = resized(count, size, view.area, generator)
    order = torch.randperm(4, generator=generator).tolist()
    # Five decisions, four strengths and a sigma for each image, drawn whether they are used or not.
    numbers = torch.rand(10, count, generator=generator)
    mirrored, jittered, grey, blurred, solarized = numbers[:5] < torch.tensor(
        [_MIRRORED, _JITTERED, _GREY, view.blur, view.solarize]
    ).unsqueeze(1)
    least, most = _SIGMAS
    return Drawn(
        boxes,
        mirrored & flip,
        _jitter(view.jitter, numbers[5:9], jittered),
        order,
        grey,
        (least + (most - least) * numbers[9]) * blurred,
        solarized,
    )


def show(images: Tensor, view: View, drawn: Drawn) -> Tensor:
    """Applies a recipe to images.

    Args:
        images: (n, C, S, S), floating-point in [0, 1], on any device.
        view: the recipe.
        drawn: the random numbers that ``draw`` drew for this recipe, n and S.

    Returns:
        (n, C, view.size, view.size) in [0, 1].
    """
    images = crops.cut(images, drawn.boxes, view.size, drawn.mirror)
    for step in drawn.order:
        images = _STEPS[step](images, drawn.jitter[:, step])
    images = _where(drawn.grey, colours.grey(images), images)
    if view.blur:  # a matrix product for all images, needless if none can be blurred
        images = blurred(images, drawn.sigma)
    return _where(drawn.solarize, colours.solarize(images), images) if view.solarize else images


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Images (n, C, S, S), each blurred by a Gaussian of its ``sigma`` (n,) in pixels; 0: not at all.

    The kernel is a tenth as wide as the image (SimCLR, appendix A), the border mirrored; below 20 px it is one pixel.
    It is applied as matrix products, which are the same on every device. ``kornia.filters.gaussian_blur2d`` takes 0.8
    of the time at 32 px and 0.6 at 96 px (benchmarks/two_views.py), but its images differ in the last bits (5e-7), and
    with them every teacher that was trained.
    """
    size, reach = images.shape[2], images.shape[2] // 20
    steps = torch.arange(-reach, reach + 1, device=images.device)
    # The softmax of a Gaussian's exponents is the Gaussian, normalised. A sigma of 0 must not divide, and so small a
    # one leaves weight on the middle alone.
    sigma = to_device(sigma, images.device).to(images.dtype).clamp_min(1e-3).unsqueeze(1)
    kernel = torch.softmax(-0.5 * (steps / sigma).square(), 1)
    places = torch.arange(size, device=images.device)
    # Reflected about the border pixels, at the first border and then at the last.
    sources = (places + steps.unsqueeze(1)).abs()
    sources = size - 1 - (size - 1 - sources).abs()
    taken = (sources.unsqueeze(2) == places).to(images.dtype)
    weights = torch.einsum("nk,kij->nij", kernel, taken).unsqueeze(1)
    return weights @ images @ weights.mT


def _jitter(strengths: Sequence[float], numbers: Tensor, jittered: Tensor) -> Tensor:
    """Returns (n, 4) factors about 1 for brightness, contrast and saturation, and the turn of the hue about 0."""
    strength = torch.tensor(strengths).unsqueeze(1)
    middle = torch.tensor([1.0, 1.0, 1.0, 0.0]).unsqueeze(1)
    # Factors cannot be negative, a turn of the hue can.
    least = torch.where(middle > 0, (middle - strength).clamp_min(0), -strength)
    drawn = least + (middle + strength - least) * numbers
    return torch.where(jittered, drawn, middle).T


def _where(chosen: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    return torch.where(to_device(chosen, images.device).view(-1, 1, 1, 1), changed, images)
