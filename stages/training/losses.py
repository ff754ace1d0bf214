"""Losses of a network's logits (N, K) against targets, each a mean over the batch."""

import torch.nn.functional as F


def loss_of(name):
    """The loss ``ce`` (labels (N,) or probabilities (N, K)), ``l1`` or ``mse`` (logits (N, K), mean over all entries)."""
    return {"ce": F.cross_entropy, "l1": F.l1_loss, "mse": F.mse_loss}[name]
