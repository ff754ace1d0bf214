"""Predictions on the images by a model trained on real data: the assessment that CLOM finds predictive of the accuracy."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.networks.chunks import in_chunks


@torch.no_grad()
def semantics(network: nn.Module, images: Tensor, labels: Tensor, chunk: int) -> dict[str, float]:
    """Returns measures of the predictions on images (N, C, H, W) of the classes ``labels`` (N,).

    ``accuracy`` is in percent, ``cross_entropy`` the mean of -log p, ``entropy`` that of the predicted probabilities, in nats.
    The class is that of the image, not a soft label: on its own labels every teacher is right.
    """
    logits = in_chunks(network, images, chunk).double()
    logs = logits.log_softmax(1)
    return {
        "accuracy": 100 * float((logits.argmax(1) == labels).double().mean()),
        "cross_entropy": float(F.nll_loss(logs, labels)),
        "entropy": float(-(logs.exp() * logs).sum(1).mean()),
    }
