"""What a model trained on the real data says of the images: the assessment that CLOM finds to foretell the accuracy."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.networks.chunks import in_chunks


@torch.no_grad()
def semantics(network: nn.Module, images: Tensor, labels: Tensor, chunk: int) -> dict[str, float]:
    """``accuracy``, percent of images (N, C, H, W) put into their class (N,), ``cross_entropy``, the mean of -log p, and
    ``entropy``, that of the predicted probabilities, in nats.

    The class is that of the image, not a soft label: against its own labels every teacher is right.
    """
    logits = in_chunks(network, images, chunk).double()
    logs = logits.log_softmax(1)
    return {
        "accuracy": 100 * float((logits.argmax(1) == labels).double().mean()),
        "cross_entropy": float(F.nll_loss(logs, labels)),
        "entropy": float(-(logs.exp() * logs).sum(1).mean()),
    }
