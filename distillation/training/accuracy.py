"""How well a network does on real images."""

import torch

from distillation.runtime.device import autocast


@torch.no_grad()
def accuracy(network, data, split, precision="fp32", chunk=512):
    """Percent of ``split`` (a Split of the RealSet ``data``) that the network, in eval mode, gets right."""
    network.eval()
    hits = 0
    for images, labels in zip(split.images.split(chunk), split.labels.split(chunk), strict=True):
        encoded = data.encode(images)  # in full precision, as the network was trained
        with autocast(images.device, precision):
            hits += (network(encoded).argmax(1) == labels).sum()
    return 100 * int(hits) / len(split)
