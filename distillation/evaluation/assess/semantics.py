"""Predictions on the images by a model trained on real data: the assessment that CLOM finds predictive of the accuracy."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.networks.chunks import in_chunks


@torch.no_grad()
def semantics(network: nn.Module, images: Tensor, labels: Tensor, chunk: int) -> dict[str, float]:
    """Computes measures of a network's predictions on images.

    They are compared with the class that an image was made for, not with soft labels: a teacher that gave the soft
    labels would agree with them by construction.

    Args:
        network: module from images to logits, in eval mode.
        images: (N, C, H, W), as the network takes them.
        labels: their classes (N,).
        chunk: images that pass through the network together.

    Returns:
        By name: ``accuracy`` in percent; ``cross_entropy``, the mean of -log p of the class; ``entropy``, the mean
        entropy of the predicted probabilities. The latter two are in nats.
    """
    logits = in_chunks(network, images, chunk).double()
    logs = logits.log_softmax(1)
    return {
        "accuracy": 100 * float((logits.argmax(1) == labels).double().mean()),
        "cross_entropy": float(F.nll_loss(logs, labels)),
        "entropy": float(-(logs.exp() * logs).sum(1).mean()),
    }
