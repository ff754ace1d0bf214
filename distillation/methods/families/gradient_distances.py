"""Distances D of two gradients of a network, for gradient matching (DC, DSA) and for assessments.

Each takes the gradient on synthetic and on real images as a sequence with one Tensor for each parameter, in the same
order and of the parameters' shapes, and returns D, a Tensor (). All are differentiable.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

SETTLING = 16  # real images of each class that batch norms see before they are frozen, as in DC's official code
TINY = 1e-6  # what the official code adds to a product of norms


def per_output(synthetic: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Returns the sum of 1 - A_i · B_i / (|A_i| |B_i|) over layers and their outputs i (DC, equation 10).

    A_i and B_i are the gradients by all weights of one output of a layer, such as one channel. Vectors (biases, and
    scale and shift of batch norm, instance norm and group norm) are left out, as in the official code.
    """
    pairs = [(a.flatten(1), b.flatten(1)) for a, b in zip(synthetic, real, strict=True) if a.ndim > 1]
    apart = ((1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + TINY)).sum() for a, b in pairs)
    return cast("Tensor", sum(apart))


def mse(synthetic: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Returns the squared Euclidean distance of the whole gradients, summed over all parameters, biases included."""
    apart = ((a - b).square().sum() for a, b in zip(synthetic, real, strict=True))
    return cast("Tensor", sum(apart))


def cos(synthetic: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Returns 1 minus the cosine of the whole gradients, each flattened into one vector, biases included."""
    a, b = (torch.cat([part.flatten() for part in parts]) for parts in (synthetic, real))
    return 1 - a @ b / (a.norm() * b.norm() + TINY)


DISTANCES = {"per_output": per_output, "mse": mse, "cos": cos}
