"""The distance between the gradients that real and distilled images of a class give a network (DC, ICLR 2021)."""

import torch
import torch.nn.functional as F


def gradients(network, images, label, chunk):
    """The gradients of the mean cross-entropy of images (N, C, H, W) of one class, for every weight that has outputs.

    As in the official code, one-dimensional parameters (biases, the scales of norms) are left out.
    """
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    total = [torch.zeros_like(weight) for weight in weights]
    for part in images.split(chunk):
        labels = torch.full((len(part),), label, device=part.device)
        loss = F.cross_entropy(network(part), labels, reduction="sum") / len(images)
        total = [a + b for a, b in zip(total, torch.autograd.grad(loss, weights), strict=True)]
    return total


def gradient_distance(real, made):
    """The sum over weights and their outputs i of 1 - A_i · B_i / (|A_i| |B_i|) (equation 10).

    1e-6 is added to the product of the norms, as in the official code.
    """
    total = 0.0
    for a, b in zip(real, made, strict=True):
        a, b = a.flatten(1).double(), b.flatten(1).double()
        total += float((1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum())
    return total
