"""Distances between synthetic images and real images of their class, as a teacher sees them (CLoM).

Each distance returns two sums over the images of a chunk: over the pairs with a real image of the same class, and over all
pairs. The loss is the first over the second, summed over all synthetic images (CLoM, the contrastive ratio):

    L = sum_ij D_ij M_ij / sum_ij D_ij,   M_ij = 1 if the real image i and the synthetic one j share their label

Of the real batch only sums by class enter, so that its size costs nothing here: ``counts`` (C,), the number of real images
of each class, and ``sums`` (C, F), the sums of their unit features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def ce(logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Plain cross-entropy, whose ratio is its mean: every image counts once, whatever the real batch."""
    return F.cross_entropy(logits, labels, reduction="sum"), len(labels)


def ce_ratio(logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """D_ij = -log p(label of i | x_j): the real images enter by their labels alone."""
    likely = logits.log_softmax(1)
    same = F.nll_loss(likely, labels, reduction="none") * counts[labels]
    return same.sum(), -(likely @ counts).sum()


def cos(features: Tensor, labels: Tensor, counts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """D_ij = 1 - cos of the features of i and j."""
    unit = F.normalize(features)
    same = counts[labels] - (unit * sums[labels]).sum(1)
    return same.sum(), (counts.sum() - unit @ sums.sum(0)).sum()


def class_sums(units: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Sums ``units`` (n, F) by class: (classes, F)."""
    return torch.zeros(classes, units.shape[1], dtype=units.dtype, device=units.device).index_add_(0, labels, units)


DISTANCES = {"ce": ce, "ce_ratio": ce_ratio, "cos": cos}
