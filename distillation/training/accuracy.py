"""Accuracy of a network on real images."""

import torch
from torch import Tensor, nn

from distillation.data.real import RealSet, Split
from distillation.runtime.device import autocast


@torch.no_grad()
def class_hits(network: nn.Module, data: RealSet, split: Split, precision: str = "fp32", chunk: int = 512) -> Tensor:
    """Counts the images of each class that the network predicts correctly, in its present mode (training or eval).

    Args:
        network: module from images to logits, on the device of the split.
        data: the dataset, whose space the network's inputs are in.
        split: a split of ``data``.
        precision: ``fp32`` or ``bf16``.
        chunk: number of images at a time, in their order.

    Returns:
        (C,) int64 on the CPU.
    """
    hits = torch.zeros(len(data.classes), dtype=torch.int64, device=split.labels.device)
    for images, labels in zip(split.images.split(chunk), split.labels.split(chunk), strict=True):
        encoded = data.encode(images)  # in full precision, as in training
        with autocast(images.device, precision):
            hits.index_add_(0, labels, (network(encoded).argmax(1) == labels).long())
    return hits.cpu()


def accuracy(network: nn.Module, data: RealSet, split: Split, precision: str = "fp32", chunk: int = 512) -> float:
    """Computes the percentage of ``split`` that the network predicts correctly in eval mode; see ``class_hits``."""
    return 100 * int(class_hits(network.eval(), data, split, precision, chunk).sum()) / len(split)
