"""The distance between the gradients of a network on real and on distilled images of a class (DC, ICLR 2021)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.methods.families.gradient_distances import per_output


def gradients(network: nn.Module, images: Tensor, label: int, chunk: int) -> list[Tensor]:
    """Returns the gradients of the mean cross-entropy of images (N, C, H, W) of one class, for every weight with outputs.

    As in the official code, one-dimensional parameters (biases, the scales of norms) are left out.
    """
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    total = [torch.zeros_like(weight) for weight in weights]
    for part in images.split(chunk):
        labels = torch.full((len(part),), label, device=part.device)
        loss = F.cross_entropy(network(part), labels, reduction="sum") / len(images)
        total = [a + b for a, b in zip(total, torch.autograd.grad(loss, weights), strict=True)]
    return total


def gradient_distance(real: Sequence[Tensor], distilled: Sequence[Tensor]) -> float:
    """Returns DC's distance of two gradients (equation 10), as in ``per_output``, in float64."""
    return float(per_output(*([part.double() for part in parts] for parts in (distilled, real))))
