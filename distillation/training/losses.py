"""Losses of a network's logits (N, K) against targets, each a mean over the batch."""

import torch.nn.functional as F


def loss_of(name):
    """The loss ``ce`` (labels (N,) or probabilities (N, K)), ``l1`` or ``mse`` (logits (N, K), mean over all entries)."""
    return {"ce": F.cross_entropy, "l1": F.l1_loss, "mse": F.mse_loss}[name]


def divergence(name, temperature):
    """The loss ``kl`` of logits against a teacher's: KL(softmax(t / T) || softmax(s / T)), or ``kl_t2``, T² times as much.

    The temperature alone makes gradients T² times smaller (Hinton et al. 2015): SRe2L leaves that on CIFAR and ImageNet,
    where AdamW does not mind, and makes up for it on Tiny-ImageNet.
    """
    scale = temperature**2 if name == "kl_t2" else 1.0

    def loss(logits, targets):
        said, wanted = ((x / temperature).log_softmax(1) for x in (logits, targets))
        return scale * F.kl_div(said, wanted, reduction="batchmean", log_target=True)

    return loss
