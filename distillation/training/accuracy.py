"""Accuracy of a network on real images."""

import torch
from torch import Tensor, nn

from distillation.data.real import RealSet, Split
from distillation.runtime.device import autocast


@torch.no_grad()
def class_hits(network: nn.Module, data: RealSet, split: Split, precision: str = "fp32", chunk: int = 512) -> Tensor:
    """Counts the images of each class that the network classifies correctly.

    The network stays in the mode that it is in (training or eval), which decides what its batch norms use.

    Args:
        network: module from images to logits, on the device of the split.
        data: the dataset, whose space the network's inputs are in.
        split: a split of ``data``.
        precision: ``fp32`` or ``bf16``.
        chunk: number of images at a time, in their order.

    Returns:
        (classes,) int64 on the CPU.
    """
    # Counted on the device, so that no chunk waits for it; the one wait is at the end.
    hits = torch.zeros(len(data.classes), dtype=torch.int64, device=split.labels.device)
    for images, labels in zip(split.images.split(chunk), split.labels.split(chunk), strict=True):
        encoded = data.encode(images)  # in full precision, as in training
        with autocast(images.device, precision):
            hits.index_add_(0, labels, (network(encoded).argmax(1) == labels).long())
    return hits.cpu()


def accuracy(network: nn.Module, data: RealSet, split: Split, precision: str = "fp32", chunk: int = 512) -> float:
    """Computes the percentage, 0 to 100, of ``split`` that the network classifies correctly in eval mode.

    It leaves the network in eval mode. The arguments are those of ``class_hits``.
    """
    return 100 * int(class_hits(network.eval(), data, split, precision, chunk).sum()) / len(split)
