"""How well a network does on real images."""

import torch
from torch import Tensor, nn

from distillation.data.real import RealSet, Split
from distillation.runtime.device import autocast


@torch.no_grad()
def class_hits(network: nn.Module, data: RealSet, split: Split, precision: str = "fp32", chunk: int = 512) -> Tensor:
    """How many images of each class (C,) the network gets right, int64 on the CPU; in whichever mode it is.

    Args:
        split: of ``data``; its images pass in their order, ``chunk`` at a time.
        precision: ``fp32`` or ``bf16``.
    """
    hits = torch.zeros(len(data.classes), dtype=torch.int64, device=split.labels.device)
    for images, labels in zip(split.images.split(chunk), split.labels.split(chunk), strict=True):
        encoded = data.encode(images)  # in full precision, as the network was trained
        with autocast(images.device, precision):
            hits.index_add_(0, labels, (network(encoded).argmax(1) == labels).long())
    return hits.cpu()


def accuracy(network: nn.Module, data: RealSet, split: Split, precision: str = "fp32", chunk: int = 512) -> float:
    """Percent of ``split`` that the network, in eval mode, gets right; see ``class_hits``."""
    return 100 * int(class_hits(network.eval(), data, split, precision, chunk).sum()) / len(split)
