"""Losses of a network's logits (N, K) against targets, each a scalar that is a mean over the batch."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]  # of logits and targets, to a scalar


def loss_of(name: str) -> Loss:
    """Selects a loss by its name.

    Args:
        name: ``ce``, the cross-entropy of softmax(logits) against labels (N,) int64 or probabilities (N, K); ``l1`` or
            ``mse``, the absolute or squared difference from targets (N, K), a mean over the batch and the K outputs.

    Returns:
        Function of logits (N, K) and targets that returns the loss, ().
    """
    return {"ce": F.cross_entropy, "l1": F.l1_loss, "mse": F.mse_loss}[name]


def divergence(name: str, temperature: float) -> Loss:
    """Builds the Kullback-Leibler divergence of a student's logits s from a teacher's logits t at a temperature T.

    ``kl`` is KL(softmax(t / T) || softmax(s / T)), summed over classes, a mean over the batch. Its gradients are about
    T² times smaller than at T = 1 (Hinton et al. 2015). ``kl_t2`` multiplies it by T² to compensate. SRe2L uses
    ``kl_t2`` on Tiny-ImageNet, but ``kl`` on CIFAR and ImageNet, with AdamW, whose steps hardly depend on the scale of
    the loss.

    Args:
        name: ``kl`` or ``kl_t2``.
        temperature: T, above 0.

    Returns:
        Function of the student's logits and the teacher's, both (N, K), that returns the loss, ().
    """
    scale = temperature**2 if name == "kl_t2" else 1.0

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        student, teacher = ((x / temperature).log_softmax(1) for x in (logits, targets))
        # written out: torch.func has no rule for F.kl_div, which is the same
        return scale * ((teacher.exp() * (teacher - student)).sum() / len(logits))

    return loss
