"""Distances between synthetic images and real images of their class, as a teacher sees them (CLoM), for ``guidance``.

Each distance returns two sums over the synthetic images of a chunk, the numerator and the denominator of a loss: the
sum over the pairs with a real image of the same class, and over all pairs. The loss is the first over the second, both
summed over all synthetic images (CLoM, the contrastive ratio):

    L = sum_ij D_ij M_ij / sum_ij D_ij,   M_ij = 1 if the real image i and the synthetic one j share their label

Small distances within a class beside large ones to other classes make it small. Arguments of all distances:

- ``logits`` (N, C) or ``features`` (N, F) of the synthetic images, from the teacher;
- ``labels`` (N,) int64 of the synthetic images;
- ``counts`` and ``sums``, see below, of the real batch.

Of the real batch only sums by class enter, so that its size costs nothing here: ``counts`` (C,), the number of real images
of each class, and ``sums`` (C, F), the sums of their unit features (features divided by their norm).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def ce(logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Returns the summed cross-entropy () and the number of images, whose ratio is the mean; no real batch enters."""
    return F.cross_entropy(logits, labels, reduction="sum"), len(labels)


def ce_ratio(logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both sums () of D_ij = -log p(label of i | x_j): the real images enter by their labels alone."""
    likely = logits.log_softmax(1)
    same = F.nll_loss(likely, labels, reduction="none") * counts[labels]
    return same.sum(), -(likely @ counts).sum()


def cos(features: Tensor, labels: Tensor, counts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both sums () of D_ij = 1 - cos of the features of i and j."""
    unit = F.normalize(features)
    # a sum of cosines with real images is the product with the sum of their unit features
    same = counts[labels] - (unit * sums[labels]).sum(1)
    return same.sum(), (counts.sum() - unit @ sums.sum(0)).sum()


def class_sums(units: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Returns the sums (classes, F) of ``units`` (n, F) over the rows of each class, by ``labels`` (n,) int64."""
    return torch.zeros(classes, units.shape[1], dtype=units.dtype, device=units.device).index_add_(0, labels, units)


DISTANCES = {"ce": ce, "ce_ratio": ce_ratio, "cos": cos}
