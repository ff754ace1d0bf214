"""Losses of a network's logits (N, K) against targets, each a mean over the batch."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]  # of logits and targets, to a scalar


def loss_of(name: str) -> Loss:
    """Selects a loss: ``ce`` for labels (N,) or probabilities (N, K); ``l1`` or ``mse`` for targets (N, K)."""
    return {"ce": F.cross_entropy, "l1": F.l1_loss, "mse": F.mse_loss}[name]


def divergence(name: str, temperature: float) -> Loss:
    """Builds a divergence between a student's logits s and a teacher's logits t at a temperature T.

    ``kl`` is KL(softmax(t / T) || softmax(s / T)). Its gradients are about T² times smaller than at T = 1 (Hinton et al.
    2015). ``kl_t2`` multiplies it by T² to compensate, as SRe2L does on Tiny-ImageNet; on CIFAR and ImageNet, with AdamW, it
    does not.

    Args:
        name: ``kl`` or ``kl_t2``.
        temperature: T.
    """
    scale = temperature**2 if name == "kl_t2" else 1.0

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        student, teacher = ((x / temperature).log_softmax(1) for x in (logits, targets))
        return scale * F.kl_div(student, teacher, reduction="batchmean", log_target=True)

    return loss
