"""The augmentation by which DC trains the students of its evaluations (Zhao et al., ICLR 2021; the official code's).

Each image is changed by one operation:

=========  =================================================================================================
``crop``   padded by 4 with the batch's mean colour and cut back at an offset of 0 to 7 on each axis
``scale``  height and width each times U(0.8, 1.2), nearest neighbour, centred; uncovered pixels become 0
``rotate`` by a whole number of degrees in [-45, 45), cubic splines; uncovered pixels become the mean
``noise``  plus 0.001 times N(0, 1)
=========  =================================================================================================

The operation is drawn uniformly from those of the strategy; sizes are in pixels for images of any size. Networks train
on the results, but no image is learnt through them, so nothing here needs a gradient.
"""

import torch
from torch import Tensor

from distillation.augment.strategy import DC_OPERATIONS, operations
from distillation.runtime.transfers import to_device

_PAD, _SCALE, _DEGREES, _NOISE = 4, 0.2, 45, 0.001  # the official code's param_augment


def augment_dc(x: Tensor, strategy: str, generator: torch.Generator) -> Tensor:
    """Changes each image by one operation of the strategy, drawn uniformly for each image.

    Args:
        x: normalised square images (N, C, S, S), floating-point, on any device; not changed.
        strategy: operations such as ``crop_noise``, without the prefix ``dc_`` of the setting ``augment``.
        generator: a CPU generator, from which all draws come, operation by operation.

    Returns:
        (N, C, S, S) on the device of ``x``.

    Raises:
        BadInput: the strategy is unknown.
    """
    names = operations(strategy, DC_OPERATIONS)
    ops = torch.randint(len(names), (len(x),), generator=generator)
    mean = x.mean((0, 2, 3))  # of the whole batch, before any change
    changed = x.clone()
    for op, name in enumerate(names):
        indices = to_device(torch.nonzero(ops == op).squeeze(1), x.device)
        if len(indices):
            changed.index_copy_(0, indices, _CHANGES[name](x[indices], mean, generator))
    return changed


def _crop(x: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
    # 0 to 7 and never 8, as in the official code, although 8 would fit into the padding of both sides.
    offsets = to_device(torch.randint(2 * _PAD, (len(x), 2, 1), generator=generator), x.device)
    places = torch.arange(x.shape[2], device=x.device) + offsets - _PAD
    return _picked(x, places, mean.view(-1, 1, 1))


def _scale(x: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
    size = x.shape[2]
    factors = torch.rand(len(x), 2, 1, generator=generator).double() * (2 * _SCALE) + (1 - _SCALE)
    sides = to_device((factors * size).long(), x.device)
    # The official code puts the scaled image into the middle of a square canvas, as large as the largest of its sides
    # and the image's, and keeps the middle of that. Both offsets are rounded down, which the two halves below repeat.
    larger = sides.amax(1, keepdim=True).clamp(min=size)
    moved = torch.arange(size, device=x.device) + (larger - size) // 2 - (larger - sides) // 2
    ratio = torch.full_like(sides, size, dtype=torch.float32) / sides  # float32, as PyTorch's nearest neighbour
    sources = (moved * ratio).floor().long()
    # -1 is outside, so that ``_picked`` fills it with 0.
    return _picked(x, torch.where((moved >= 0) & (moved < sides), sources, -1), x.new_zeros(1))


def _picked(x: Tensor, places: Tensor, fill: Tensor) -> Tensor:
    """Gathers pixel (i, j) of each image from row ``places[:, 0, i]`` and column ``places[:, 1, j]``.

    Args:
        x: (N, C, S, S).
        places: (N, 2, S) int64.
        fill: the value of pixels from outside, broadcast to (N, C, S, S).

    Returns:
        (N, C, S, S).
    """
    size = x.shape[2]
    rows, columns = places.clamp(0, size - 1).unbind(1)
    inside_rows, inside_columns = ((places >= 0) & (places < size)).unbind(1)
    images = torch.arange(len(x), device=x.device)[:, None, None]
    pixels = x[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return torch.where(inside_rows[:, None, :, None] & inside_columns[:, None, None, :], pixels, fill)


def _rotate(x: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
    return rotated(x, torch.randint(-_DEGREES, _DEGREES, (len(x),), generator=generator), mean.mean())


def rotated(x: Tensor, degrees: Tensor, fill: Tensor) -> Tensor:
    """Rotates images about their centre by cubic splines.

    Equals scipy's ``ndimage.rotate`` with its defaults (mirrored splines, a canvas that holds the whole rotated image),
    of which the official code keeps the middle.

    Args:
        x: (N, C, S, S).
        degrees: (N,) whole numbers, on the CPU.
        fill: () value of pixels from outside.

    Returns:
        (N, C, S, S).
    """
    size = x.shape[2]
    rows, columns = _positions(degrees, size)
    inside = (rows >= 0) & (rows <= size - 1) & (columns >= 0) & (columns <= size - 1)
    # Splines interpolate only if their coefficients solve a linear system on each axis; the pixels are its right side.
    solve = to_device(_spline_matrix(size).inverse(), x.device).to(x.dtype)
    coefficients = (solve @ x @ solve.T).permute(0, 2, 3, 1).reshape(-1, x.shape[1])  # a row for each pixel
    image = torch.arange(len(x), device=x.device).view(-1, 1, 1) * size**2
    result = torch.zeros(rows.numel(), x.shape[1], device=x.device, dtype=x.dtype)
    by_row, by_column = (_taps(to_device(at.clamp(0, size - 1), x.device), size, x.dtype) for at in (rows, columns))
    # The 4 x 4 splines are added one by one, which takes the memory of one batch instead of sixteen.
    for row, row_weight in by_row:
        for column, column_weight in by_column:
            index = (image + row * size + column).flatten()
            result.addcmul_(coefficients.index_select(0, index), (row_weight * column_weight).view(-1, 1))
    result = result.view(len(x), size, size, -1).permute(0, 3, 1, 2)
    return torch.where(to_device(inside.unsqueeze(1), x.device), result, fill)


def _positions(degrees: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The source of each pixel of the kept middle: rows and columns (N, S, S), float64 on the CPU."""
    angle = torch.deg2rad(degrees.double())
    cos, sin = (part.view(-1, 1, 1) for part in (angle.cos(), angle.sin()))
    canvas = (size * (cos.abs() + sin.abs()) + 0.5).long()
    pixels = torch.arange(size) + (canvas - size) // 2 - (canvas - 1) / 2
    down, right = pixels.double().transpose(1, 2), pixels.double()
    middle = (size - 1) / 2
    return cos * down + sin * right + middle, cos * right - sin * down + middle


def _spline_matrix(size: int) -> Tensor:
    """Cubic B-splines centred on each pixel, sampled at all pixels, mirrored at the borders: (size, size) float64."""
    matrix = torch.eye(size, dtype=torch.float64) * 4 / 6
    inner = torch.arange(size)
    for neighbour in (_mirrored(inner - 1, size), _mirrored(inner + 1, size)):
        matrix[inner, neighbour] += 1 / 6
    return matrix


def _taps(positions: Tensor, size: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """The mirrored indices and weights of the four splines that reach ``positions``, each of their shape."""
    first = positions.floor()
    t = (positions - first).to(dtype)
    weights = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    first = first.long()
    return [(_mirrored(first + step, size), weight / 6) for step, weight in zip(range(-1, 3), weights, strict=True)]


def _mirrored(index: Tensor, size: int) -> Tensor:
    """Indices at most ``size`` - 1 outside the borders, reflected about the border pixels."""
    index = index.abs()
    return torch.minimum(index, 2 * size - 2 - index)


_CHANGES = {
    "crop": _crop,
    "scale": _scale,
    "rotate": _rotate,
    "noise": lambda x, mean, generator: x + _NOISE * to_device(torch.randn(x.shape, generator=generator), x.device),
}
