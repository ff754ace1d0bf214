"""Differentiable siamese augmentation (Zhao & Bilen, ICML 2021): the same random change for real and synthetic images.

One call changes a batch by exactly one operation, drawn uniformly from the strategy's. Siamese calls share one set of
parameters among all their images, others draw one for each image. Here draws and changes are apart: ``draw`` makes the
random numbers of any number of calls, ``apply`` changes images given one operation and one row of numbers each, so
that many calls (the classes of a matching step, say) run as one batch.

The published code leaves open whether corners are aligned when it warps (torch 1.2 did, later versions do not). It
makes no difference: about the centre of a square image both conventions scale and rotate alike.
"""

import math

import torch
from torch.nn import functional as F

from distillation.augment.resample import triangle
from distillation.augment.strategy import operations
from distillation.runtime.errors import BadInput

NUMBERS = 3  # uniform numbers an image needs at most (color takes three)
_BRIGHTNESS, _SATURATION, _CONTRAST = 1.0, 2.0, 0.5
_CROP, _CUTOUT, _FLIP, _SCALE, _DEGREES = 0.125, 0.5, 0.5, 1.2, 15


def draw(strategy, calls, per, generator):
    """Random numbers for ``calls`` independent calls with ``per`` sets of parameters each (1 where siamese).

    Returns ``ops`` (calls,) int64, indices into the strategy's operations, and ``u`` (calls, per, NUMBERS) float32 in
    [0, 1), both on the CPU, from the CPU ``generator`` alone. A call takes the same amount whatever it does.
    """
    numbers = torch.rand(calls, 1 + per * NUMBERS, generator=generator)
    ops = _integers(numbers[:, 0], len(operations(strategy)))
    return ops, numbers[:, 1:].view(calls, per, NUMBERS)


def apply(x, strategy, ops, u):
    """Images ``x`` (N, C, S, S) changed, image i by operation ``ops[i]`` with the numbers ``u[i]``.

    Args:
        x: float32 or float64 on any device, normalised: uncovered pixels become 0, the mean. Nothing is clamped.
        strategy: a word such as ``color_crop_cutout_flip_scale_rotate``, or ``none``.
        ops: (N,) int64 on the CPU, so that grouping needs no wait for the device.
        u: (N, NUMBERS) in [0, 1).

    Differentiable in ``x``, any number of times; the backward pass gathers and never scatters, so it is deterministic
    on every device. Raises BadInput for an unknown strategy or images that are not square.
    """
    names = operations(strategy)
    if not names:
        return x
    if x.shape[2] != x.shape[3]:
        raise BadInput(f"Augmentation takes square images, not {x.shape[2]} x {x.shape[3]}.")
    u = u.to(x.device, x.dtype)
    counts = torch.bincount(ops, minlength=len(names)).tolist()
    if max(counts) == len(x):
        return _CHANGES[names[int(ops[0])]](x, u)
    order = torch.argsort(ops, stable=True)
    back = torch.argsort(order).to(x.device)
    order = order.to(x.device)
    groups = zip(names, _permute(x, order, back).split(counts), u[order].split(counts), strict=True)
    changed = torch.cat([_CHANGES[name](images, rows) for name, images, rows in groups if len(images)])
    return _permute(changed, back, order)


def augment_batch(x, strategy, generator):
    """One call on ``x`` with parameters of its own for each image: what networks are trained with."""
    ops, u = draw(strategy, 1, len(x), generator)
    return apply(x, strategy, ops.expand(len(x)), u[0])


def _color(x, u):
    brightness, saturation, contrast = u[:, :, None, None, None].unbind(1)
    x = x + (brightness - 0.5) * _BRIGHTNESS
    mean = x.mean(1, keepdim=True)
    x = (x - mean) * (saturation * _SATURATION) + mean
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + _CONTRAST) + mean


def _crop(x, u):
    reach = int(x.shape[2] * _CROP + 0.5)
    down, right = (_integers(u[:, :2], 2 * reach + 1) - reach).unbind(1)
    return _Linear.apply(x, lambda v: shifted(v, down, right), lambda v: shifted(v, -down, -right))


def _cutout(x, u):
    size = x.shape[2]
    side = int(size * _CUTOUT + 0.5)
    centre = _integers(u[:, :2], size + 1 - side % 2)
    ahead = torch.arange(size, device=x.device) - (centre - side // 2).unsqueeze(2)
    rows, columns = ((ahead >= 0) & (ahead < side)).unbind(1)
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _flip(x, u):
    return torch.where(u[:, 0, None, None, None] < _FLIP, x.flip(3), x)


def _scale(x, u):
    return _warped(x, torch.diag_embed(u[:, :2] * (_SCALE - 1 / _SCALE) + 1 / _SCALE))


def _rotate(x, u):
    angle = (u[:, 0] * 2 - 1) * math.radians(_DEGREES)
    cos, sin = angle.cos(), angle.sin()
    return _warped(x, torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2))


_CHANGES = {"color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate}


class _Linear(torch.autograd.Function):
    """A linear map of images given together with its adjoint, each the other's derivative."""

    @staticmethod
    def forward(ctx, x, act, adjoint):
        ctx.maps = adjoint, act
        return act(x)

    @staticmethod
    def backward(ctx, gradient):
        return _Linear.apply(gradient, *ctx.maps), None, None


def _permute(x, order, back):
    return _Linear.apply(x, lambda v: v.index_select(0, order), lambda v: v.index_select(0, back))


def shifted(x, down, right):
    """Pixel (i, j) taken from (i + down, j + right), 0 where that is outside."""
    steps = torch.arange(x.shape[2], device=x.device)
    return _taken(x, steps[:, None] + down[:, None, None], steps + right[:, None, None])


def _warped(x, matrix):
    """Each pixel taken, bilinearly, from where ``matrix`` (N, 2, 2) puts its centred (x, y); 0 outside the image."""
    return _Linear.apply(x, lambda v: _sampled(v, matrix), lambda v: _spread(v, matrix))


def _sampled(x, matrix):
    return F.grid_sample(x, _grid(matrix, x), align_corners=False)


def _grid(matrix, x):
    size = x.shape[2]
    centred = (torch.arange(size, device=x.device, dtype=x.dtype) * 2 + 1) / size - 1
    return torch.stack(_moved(matrix, centred, centred[:, None]), 3)


def _spread(g, matrix):
    """The adjoint of ``_sampled``. PyTorch's own adds in a fixed order on the CPU, but atomically on CUDA."""
    if g.device.type == "cpu":
        return torch.ops.aten.grid_sampler_2d_backward(g, g, _grid(matrix, g), 0, 0, False, (True, False))[0]
    return _gathered(g, matrix)


def _gathered(g, matrix):
    """The adjoint of ``_sampled`` as a gather: each pixel takes back what it gave, with the weight it was given.

    Pixel p gave to every q with |matrix q - p| < 1 on both axes. Around p brought back by the inverse these q span
    less than 3 pixels an axis (2 x 1.2 when scaling, 2 x 1.22 when rotating), so 3 x 3 of them are all.
    """
    middle = (g.shape[2] - 1) / 2
    steps = torch.arange(g.shape[2], device=g.device, dtype=g.dtype) - middle
    matrix = matrix[:, None]
    inverse = torch.linalg.inv_ex(matrix).inverse
    reach_x, reach_y = inverse.abs().sum(3)[..., None, None].unbind(2)
    found_x, found_y = _moved(inverse, steps, steps[:, None])
    place = torch.arange(9, device=g.device).view(9, 1, 1)
    x = (found_x - reach_x).add(middle).floor() + 1 + place % 3
    y = (found_y - reach_y).add(middle).floor() + 1 + place // 3
    at_x, at_y = _moved(matrix, x - middle, y - middle)
    weight = triangle(at_x - steps) * triangle(at_y - steps[:, None])
    return _taken(g, y.long(), x.long(), weight).sum(2)


def _moved(matrix, x, y):
    """x and y (..., S, S) under each of ``matrix`` (..., 2, 2)."""
    (a, b), (c, d) = (row.unbind(-3) for row in matrix[..., None, None].unbind(-4))
    return a * x + b * y, c * x + d * y


def _taken(x, rows, columns, weight=1.0):
    """``x`` at whole rows and columns, (N, ..., S, S) or what broadcasts to it, times ``weight``; 0 where outside."""
    size = x.shape[2]
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    index = rows.clamp(0, size - 1) * size + columns.clamp(0, size - 1)
    wanted = index.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)
    taken = x.flatten(2).gather(2, wanted).view(*x.shape[:2], *index.shape[1:])
    return taken * torch.where(inside, weight, 0.0).unsqueeze(1)


def _integers(u, count):
    """Uniform numbers as whole numbers 0 to ``count`` - 1."""
    return (u.double() * count).long()  # in double, so that no product rounds up to the next whole number
