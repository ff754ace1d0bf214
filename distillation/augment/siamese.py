"""Differentiable siamese augmentation (Zhao & Bilen, ICML 2021): the same random change for real and synthetic images.

A call is one augmentation of one batch. It changes all images by the same operation, which is drawn uniformly from
those of the strategy. The parameters of the operation (such as the angle of ``rotate``) are shared by all images of a
siamese call; otherwise each image has its own.

Drawing is apart from applying. ``draw`` draws the random numbers of any number of calls; ``apply`` changes each image
by one operation and one row of numbers. So many calls (such as the classes of a matching step) run as one batch.

The published code leaves open whether corners are aligned in a warp (torch 1.2 did, later versions do not). It
makes no difference: about the centre of a square image both conventions scale and rotate alike.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from distillation.augment.resample import triangle
from distillation.augment.strategy import operations
from distillation.runtime.errors import BadInput
from distillation.runtime.transfers import to_device

Map = Callable[[Tensor], Tensor]  # linear, of images (N, C, S, S)

NUMBERS = 3  # most uniform numbers that an image needs: those of color
# The official code's ParamDiffAug (VICO-UoE/DatasetCondensation, utils.py): ratios of colour, fractions of the side for
# crop and cutout, a probability for flip, the largest factor of scale and the largest angle of rotate in degrees.
_BRIGHTNESS, _SATURATION, _CONTRAST = 1.0, 2.0, 0.5
_CROP, _CUTOUT, _FLIP, _SCALE, _DEGREES = 0.125, 0.5, 0.5, 1.2, 15


def draw(strategy: str, calls: int, per: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws the random numbers of independent calls, to be given to ``apply``.

    A call takes the same amount of numbers whatever its operation, so that all are drawn at once.

    Args:
        strategy: as in ``apply``.
        calls: number of calls.
        per: sets of parameters of a call: 1 if it is siamese, else the number of its images.
        generator: a CPU generator.

    Returns:
        ``ops`` (calls,) int64, indices into the strategy's operations, and ``u`` (calls, per, NUMBERS) float32, uniform
        in [0, 1), both on the CPU.

    Raises:
        BadInput: the strategy is unknown.
    """
    numbers = torch.rand(calls, 1 + per * NUMBERS, generator=generator)
    ops = _integers(numbers[:, 0], len(operations(strategy)))
    return ops, numbers[:, 1:].view(calls, per, NUMBERS)


def apply(x: Tensor, strategy: str, ops: Tensor, u: Tensor) -> Tensor:
    """Changes image i by operation ``ops[i]`` with the numbers ``u[i]``.

    The result is differentiable in ``x``, any number of times. The backward pass gathers and never scatters, so it is
    deterministic on every device.

    Args:
        x: (N, C, S, S) float32 or float64 on any device, normalised: uncovered pixels become 0, the mean. Nothing is
            clamped.
        strategy: operations such as ``color_crop_cutout_flip_scale_rotate``, or ``none``.
        ops: (N,) int64 on the CPU, so that grouping needs no wait for the device.
        u: (N, NUMBERS) in [0, 1), the parameters of each image's operation; equal rows give a siamese change.

    Returns:
        (N, C, S, S); ``x`` itself for ``none``.

    Raises:
        BadInput: the strategy is unknown, or the images are not square.
    """
    names = operations(strategy)
    if not names:
        return x
    if x.shape[2] != x.shape[3]:
        raise BadInput(f"Augmentation takes square images, not {x.shape[2]} x {x.shape[3]}.")
    u = to_device(u, x.device).to(x.dtype)
    counts = torch.bincount(ops, minlength=len(names)).tolist()
    if max(counts) == len(x):  # one operation for all, as in a single call: no sorting
        return _CHANGES[names[int(ops[0])]](x, u)
    # Images are sorted by operation, so that each operation runs once, on a slice; then they return to their places.
    order = torch.argsort(ops, stable=True)
    back = to_device(torch.argsort(order), x.device)
    order = to_device(order, x.device)
    groups = zip(names, _permute(x, order, back).split(counts), u[order].split(counts), strict=True)
    changed = torch.cat([_CHANGES[name](images, rows) for name, images, rows in groups if len(images)])
    return _permute(changed, back, order)


def augment_batch(x: Tensor, strategy: str, generator: torch.Generator) -> Tensor:
    """Augments a batch for the training of a network: one operation for the batch, each image with its own parameters.

    Args:
        x: as in ``apply``.
        strategy: as in ``apply``.
        generator: a CPU generator.

    Returns:
        (N, C, S, S), differentiable in ``x``.

    Raises:
        BadInput: as ``apply``.
    """
    ops, u = draw(strategy, 1, len(x), generator)
    return apply(x, strategy, ops.expand(len(x)), u[0])


def _color(x: Tensor, u: Tensor) -> Tensor:
    # In the order of the official code. Saturation is about the grey of each pixel, contrast about an image's
    # mean.
    brightness, saturation, contrast = u[:, :, None, None, None].unbind(1)
    x = x + (brightness - 0.5) * _BRIGHTNESS
    mean = x.mean(1, keepdim=True)
    x = (x - mean) * (saturation * _SATURATION) + mean
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + _CONTRAST) + mean


def _crop(x: Tensor, u: Tensor) -> Tensor:
    reach = int(x.shape[2] * _CROP + 0.5)
    down, right = (_integers(u[:, :2], 2 * reach + 1) - reach).unbind(1)
    # The adjoint of a shift is the shift back, a gather; autograd's own would scatter.
    return _Linear.apply(x, lambda v: shifted(v, down, right), lambda v: shifted(v, -down, -right))


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    size = x.shape[2]
    side = int(size * _CUTOUT + 0.5)
    # As in the official code: a window may reach beyond the border, and one of even side may be centred on the far
    # border.
    centre = _integers(u[:, :2], size + 1 - side % 2)
    ahead = torch.arange(size, device=x.device) - (centre - side // 2).unsqueeze(2)
    rows, columns = ((ahead >= 0) & (ahead < side)).unbind(1)
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _flip(x: Tensor, u: Tensor) -> Tensor:
    return torch.where(u[:, 0, None, None, None] < _FLIP, x.flip(3), x)


def _scale(x: Tensor, u: Tensor) -> Tensor:
    # Factors of the places that are sampled: above 1 the image shrinks.
    return _warped(x, torch.diag_embed(u[:, :2] * (_SCALE - 1 / _SCALE) + 1 / _SCALE))


def _rotate(x: Tensor, u: Tensor) -> Tensor:
    angle = (u[:, 0] * 2 - 1) * math.radians(_DEGREES)
    cos, sin = angle.cos(), angle.sin()
    return _warped(x, torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2))


_CHANGES = {"color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate}


class _Linear(torch.autograd.Function):
    """A linear map of images together with its adjoint, each the other's derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, act: Map, adjoint: Map) -> Tensor:
        """Applies the map ``act``."""
        ctx.maps = adjoint, act
        return act(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]  # one output
        """Applies the adjoint, itself differentiable."""
        return _Linear.apply(gradient, *ctx.maps), None, None


def _permute(x: Tensor, order: Tensor, back: Tensor) -> Tensor:
    """The images in the given order; ``back`` is its inverse."""
    return _Linear.apply(x, lambda v: v.index_select(0, order), lambda v: v.index_select(0, back))


def shifted(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shifts images: pixel (i, j) comes from (i + down, j + right), and is 0 if that is outside.

    Args:
        x: (N, C, S, S).
        down: (N,) int64, on the device of ``x``.
        right: (N,) int64, on the device of ``x``.
    """
    steps = torch.arange(x.shape[2], device=x.device)
    return _taken(x, steps[:, None] + down[:, None, None], steps + right[:, None, None])


def _warped(x: Tensor, matrix: Tensor) -> Tensor:
    """Samples each pixel bilinearly at its centred (x, y) times ``matrix`` (N, 2, 2); 0 outside the image."""
    return _Linear.apply(x, lambda v: _sampled(v, matrix), lambda v: _spread(v, matrix))


def _sampled(x: Tensor, matrix: Tensor) -> Tensor:
    return F.grid_sample(x, _grid(matrix, x), align_corners=False)


def _grid(matrix: Tensor, x: Tensor) -> Tensor:
    """The grid (N, S, S, 2) of F.grid_sample for ``matrix``."""
    size = x.shape[2]
    centred = (torch.arange(size, device=x.device, dtype=x.dtype) * 2 + 1) / size - 1
    return torch.stack(_moved(matrix, centred, centred[:, None]), 3)


def _spread(g: Tensor, matrix: Tensor) -> Tensor:
    """The adjoint of ``_sampled``. PyTorch's own adds in a fixed order on the CPU, but atomically on CUDA."""
    if g.device.type == "cpu":
        return torch.ops.aten.grid_sampler_2d_backward(g, g, _grid(matrix, g), 0, 0, False, (True, False))[0]
    return _gathered(g, matrix)


def _gathered(g: Tensor, matrix: Tensor) -> Tensor:
    """The adjoint of ``_sampled`` as a gather: each pixel sums the gradients that it contributed to, by their weights.

    Pixel p contributes to every q with |matrix q - p| < 1 on both axes. Around the inverse image of p these q span
    less than 3 pixels an axis (2 x 1.2 when scaling, 2 x 1.22 when rotating), so 3 x 3 of them are all.
    """
    middle = (g.shape[2] - 1) / 2
    steps = torch.arange(g.shape[2], device=g.device, dtype=g.dtype) - middle
    matrix = matrix[:, None]
    # Unlike inv, inv_ex does not wait for the device to check for singular matrices; these never are.
    inverse = torch.linalg.inv_ex(matrix).inverse
    reach_x, reach_y = inverse.abs().sum(3)[..., None, None].unbind(2)
    source_x, source_y = _moved(inverse, steps, steps[:, None])
    # The first whole pixel inside the box that the inverse image of p's neighbourhood spans, and two more on each axis.
    # Of these nine, the triangles below give 0 to those that p does not contribute to.
    place = torch.arange(9, device=g.device).view(9, 1, 1)
    x = (source_x - reach_x).add(middle).floor() + 1 + place % 3
    y = (source_y - reach_y).add(middle).floor() + 1 + place // 3
    at_x, at_y = _moved(matrix, x - middle, y - middle)
    weight = triangle(at_x - steps) * triangle(at_y - steps[:, None])
    return _taken(g, y.long(), x.long(), weight).sum(2)


def _moved(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Multiplies the coordinates x and y, broadcast to (..., S, S), by each of ``matrix`` (..., 2, 2)."""
    (a, b), (c, d) = (row.unbind(-3) for row in matrix[..., None, None].unbind(-4))
    return a * x + b * y, c * x + d * y


def _taken(x: Tensor, rows: Tensor, columns: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Gathers pixels and multiplies them by ``weight``.

    Args:
        x: (N, C, S, S).
        rows: int64, broadcast with ``columns`` to (N, ..., S, S); pixels from outside are 0.
        columns: int64.
        weight: broadcasts to the same shape.

    Returns:
        (N, C, ..., S, S).
    """
    size = x.shape[2]
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    # Clamped, so that gather reads inside the image; what was outside is multiplied by 0 below.
    index = rows.clamp(0, size - 1) * size + columns.clamp(0, size - 1)
    flat_index = index.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)
    pixels = x.flatten(2).gather(2, flat_index).view(*x.shape[:2], *index.shape[1:])
    return pixels * torch.where(inside, weight, 0.0).unsqueeze(1)


def _integers(u: Tensor, count: int) -> Tensor:
    """Converts uniform numbers in [0, 1) to whole numbers from 0 to ``count`` - 1."""
    return (u.double() * count).long()  # in double, so that no product rounds up to the next whole number
