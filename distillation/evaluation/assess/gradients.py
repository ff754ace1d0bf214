"""The distance between the gradients of a network on real and on distilled images of a class (DC, ICLR 2021)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.methods.families.gradient_distances import per_output


def gradients(network: nn.Module, images: Tensor, label: int, chunk: int) -> list[Tensor]:
    """Returns the gradients of the mean cross-entropy of images of one class.

    Args:
        network: in eval mode, its weights ready for gradients.
        images: (N, C, H, W), as the network takes them.
        label: their class.
        chunk: images that pass through the network together.

    Returns:
        A gradient for each parameter of two dimensions or more, in the network's order. As in the official code, biases
        and the scales of norms are left out.
    """
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    total = [torch.zeros_like(weight) for weight in weights]
    for part in images.split(chunk):
        labels = torch.full((len(part),), label, device=part.device)
        # each chunk's sum is divided by all images, so that the gradients of chunks add up to that of the mean
        loss = F.cross_entropy(network(part), labels, reduction="sum") / len(images)
        total = [a + b for a, b in zip(total, torch.autograd.grad(loss, weights), strict=True)]
    return total


def gradient_distance(real: Sequence[Tensor], distilled: Sequence[Tensor]) -> float:
    """Returns DC's distance of two lists of ``gradients`` (equation 10), computed in float64; see ``per_output``."""
    return float(per_output(*([part.double() for part in parts] for parts in (distilled, real))))
