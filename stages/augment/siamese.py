"""Differentiable siamese augmentation (DSA, Zhao and Bilen, ICML 2021), vectorised over many independent calls.

One call draws one family of operations for all its images. In siamese mode all images of the call, real and synthetic,
share one set of parameters; otherwise each image has its own. ``x`` is normalised, so the fill value 0 is the dataset's
mean colour; nothing is clamped.

Draws are numbers in [0, 1), the same count whichever family is drawn, so that they depend on the generator alone.
"""

import math

import torch

from stages.runtime.errors import BadInput

FAMILIES = ("color", "crop", "cutout", "flip", "scale", "rotate")
ALL = "_".join(FAMILIES)
NUMBERS = 3  # the most that a family needs (color)

CROP, CUTOUT, SCALE, DEGREES = 0.125, 0.5, 1.2, 15.0


def check_strategy(strategy):
    """Raise BadInput unless ``strategy`` is none, or families joined by underscores."""
    words = strategy.split("_")
    if strategy != "none" and (len(set(words)) != len(words) or not set(words) <= set(FAMILIES)):
        raise BadInput(f"the augmentation {strategy!r} is not none, nor some of {ALL} joined by underscores.")


def resolve(strategy, flip):
    """``auto`` as all families, without flip where mirrored images change class; anything else as it is."""
    if strategy == "auto":
        return ALL if flip else ALL.replace("flip_", "")
    check_strategy(strategy)
    return strategy


def draw(strategy, calls, per, generator):
    """Families (calls,) and numbers (calls, per, 3) in [0, 1), on the CPU, for independent calls.

    ``per`` is 1 for siamese calls, else the number of images of a call.
    """
    families = torch.randint(len(strategy.split("_")), (calls,), generator=generator)
    return families, torch.rand(calls, per, NUMBERS, generator=generator)


def apply(x, strategy, families, numbers, align_corners=True):
    """Augment images.

    Args:
        x: (N, C, H, W).
        strategy: a resolved strategy.
        families: (N,) on the CPU, the family of each image's call.
        numbers: (N, 3) in [0, 1), each image's parameters.
        align_corners: of the grids of scale and rotate. The published runs had torch 1.2, which behaves as True.

    Returns:
        (N, C, H, W), differentiable in ``x``; the backward is deterministic.
    """
    if strategy == "none":
        return x
    names = strategy.split("_")
    if len(present := families.unique()) == 1:
        return _FAMILY[names[present]](x, numbers.to(x), align_corners)
    groups = [(families == i).nonzero().squeeze(1) for i in present]
    parts = [
        _FAMILY[names[i]](x[group.to(x.device)], numbers[group].to(x), align_corners)
        for i, group in zip(present, groups, strict=True)
    ]
    back = torch.cat(groups).argsort().to(x.device)
    return torch.cat(parts)[back]


def augment_batch(x, strategy, generator, align_corners=True):
    """One call on a batch, parameters per image: what training a network uses."""
    if strategy == "none":
        return x
    family, numbers = draw(strategy, 1, len(x), generator)
    return apply(x, strategy, family.expand(len(x)), numbers[0], align_corners)


def _color(x, u, _):
    brightness, saturation, contrast = u.view(-1, NUMBERS, 1, 1, 1).unbind(1)
    x = x + (brightness - 0.5)
    mean = x.mean(1, keepdim=True)
    x = (x - mean) * (2 * saturation) + mean
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def _crop(x, u, _):
    most = int(x.shape[2] * CROP + 0.5)
    down, right = (torch.floor(u[:, i] * (2 * most + 1)).long() - most for i in (0, 1))
    return shifted(x, down, right)


def shifted(x, down, right, mirror=None):
    """Images (N, C, H, W) whose pixel (r, c) is that at (r + down, c + right) of ``x``, zero outside.

    ``down`` and ``right`` (N,) are whole pixels; where ``mirror`` (N,) is true, columns are counted from the right. A
    move of pixels is a product of 0/1 selection matrices, whose backward has no scatter.
    """
    size = x.shape[2]
    rows = torch.arange(size, device=x.device)
    columns = rows.expand(len(x), size)
    if mirror is not None:
        columns = torch.where(mirror[:, None], columns.flip(1), columns)
    taken = rows + down[:, None], columns + right[:, None]
    left, across = ((t[:, :, None] == rows).to(x.dtype) for t in taken)
    return left[:, None] @ x @ across[:, None].mT


def _cutout(x, u, _):
    size = x.shape[2]
    side = int(size * CUTOUT + 0.5)
    centre = torch.floor(u[:, :2] * (size + 1 - side % 2))
    first = (centre - side // 2)[:, :, None]
    places = torch.arange(size, device=x.device)
    inside = (places >= first) & (places < first + side)
    return x * ~(inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]


def _flip(x, u, _):
    return torch.where(u[:, 0].view(-1, 1, 1, 1) < 0.5, x.flip(3), x)


def _scale(x, u, align_corners):
    factors = u[:, :2] * (SCALE - 1 / SCALE) + 1 / SCALE
    across, down = (_interpolation(factors[:, i], x.shape[2], align_corners) for i in (0, 1))
    return down[:, None] @ x @ across[:, None].mT


def _interpolation(factor, size, align_corners):
    """Bilinear sampling along one axis as matrices (N, size, size): the sampler is separable where nothing rotates."""
    places = _places(factor[:, None] * _grid(size, factor, align_corners), size, align_corners)
    return (1 - (places[:, :, None] - torch.arange(size).to(factor)).abs()).clamp_min(0)


def _rotate(x, u, align_corners):
    angle = (2 * u[:, 0] - 1) * (DEGREES * math.pi / 180)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    grid = _grid(x.shape[2], x, align_corners)
    right, down = grid[None, None, :], grid[None, :, None]
    columns = _places(cos * right - sin * down, x.shape[2], align_corners)
    rows = _places(sin * right + cos * down, x.shape[2], align_corners)
    return _Sampled.apply(x, rows, columns)


def _grid(size, like, align_corners):
    """Centres of the pixels on the axis from -1 to 1."""
    places = torch.arange(size).to(like)
    return places * (2 / (size - 1)) - 1 if align_corners else (2 * places + 1) / size - 1


def _places(grid, size, align_corners):
    """The way back from the axis to pixel numbers."""
    return (grid + 1) * ((size - 1) / 2) if align_corners else ((grid + 1) * size - 1) / 2


class _Sampled(torch.autograd.Function):
    """Bilinear sampling at rows and columns (N, H, W), zero outside. The backward adds in a fixed order."""

    @staticmethod
    def forward(ctx, x, rows, columns):
        index, weight = _neighbours(rows, columns, x.shape[2])
        ctx.save_for_backward(index, weight)
        ctx.shape = x.shape
        count, channels, size, _ = x.shape
        taken = x.flatten(2).gather(2, index[:, None].expand(-1, channels, -1))
        return (taken * weight[:, None]).view(count, channels, 4, size * size).sum(2).view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        index, weight = ctx.saved_tensors
        return _spread(gradient, index, weight, ctx.shape), None, None


def _neighbours(rows, columns, size):
    """Flat index and weight (N, 4·H·W) of the four pixels around each place; weight 0 outside."""
    found = []
    for r, c in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = rows.floor() + r, columns.floor() + c
        weight = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        flat = row.clamp(0, size - 1) * size + column.clamp(0, size - 1)
        found.append((flat.long().flatten(1), (weight * inside).flatten(1)))
    return tuple(torch.cat(parts, 1) for parts in zip(*found, strict=True))


def _spread(gradient, index, weight, shape):
    """The adjoint of sampling. One row of a flat buffer per pixel: index_add is deterministic where torch is asked to be."""
    count, channels, size, _ = shape
    pixels = size * size
    values = gradient.flatten(2).repeat(1, 1, 4) * weight[:, None]
    flat = (index + pixels * torch.arange(count, device=index.device)[:, None]).flatten()
    spread = gradient.new_zeros(count * pixels, channels)
    spread.index_add_(0, flat, values.transpose(1, 2).reshape(-1, channels))
    return spread.view(count, pixels, channels).transpose(1, 2).reshape(shape)


_FAMILY = {"color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate}
