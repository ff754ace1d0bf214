"""Small sets of real images."""

from dataclasses import replace

import torch

from distillation.data.real import RealSet, Split
from distillation.data.spaces import Space
from distillation.runtime.random import generator

CLASSES, SIZE, IPC = 3, 8, 2
DIGITS = {  # a section of params.yaml
    "name": "digits",
    "archive": "data/none",
    "pixels": None,
    "colour": "auto",
    "flip": "auto",
    "stats": "published",
    "zca": False,
    "form": "auto",
    "faulty": "refuse",
}

# The record of a DistilledSet of `noise_set`'s classes.
RECORD = {
    **{"labels": "hard", "feed": "stored", "method": "dm", "ipc": IPC, "seed": 0},
    **{"classes": ["a", "b", "c"], "dataset": "noise"},
}


def noise_set(per_class: int = 12, space: Space | None = None) -> RealSet:
    """Three classes of noise in three channels: nothing to learn, but numbers that tell every image apart."""
    draws = generator(0, "real")
    images = torch.randint(0, 256, (CLASSES * per_class, 3, SIZE, SIZE), dtype=torch.uint8, generator=draws)
    split = Split(images, torch.arange(CLASSES).repeat(per_class))
    info = {"name": "noise", "classes": ["a", "b", "c"], "channels": 3, "size": SIZE, "flip": True}
    return RealSet(split, _copied(split), space or Space.normalised([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]), info)


def uneven_set(*sizes: int) -> RealSet:
    """``noise_set`` with as many training images of each class as ``sizes`` names, and all test images."""
    whole = noise_set(max(sizes))
    kept = torch.cat([members[:size] for members, size in zip(whole.members, sizes, strict=True)]).sort().values
    return replace(whole, train=Split(whole.train.images[kept], whole.train.labels[kept]))


def ramp_set(per_class: int = 20) -> RealSet:
    """Three classes of grey images that differ in brightness, so that networks can learn them."""
    draws = generator(0, "real")
    labels = torch.arange(CLASSES).repeat(per_class)
    noise = torch.randint(0, 60, (len(labels), 1, SIZE, SIZE), generator=draws)
    ramp = torch.arange(SIZE).view(1, 1, 1, SIZE) * (labels.view(-1, 1, 1, 1) - 1) * 8 + 100
    split = Split((noise + ramp).clamp(0, 255).to(torch.uint8), labels)
    info = {"name": "ramps", "classes": ["a", "b", "c"], "channels": 1, "size": SIZE, "flip": False}
    return RealSet(split, _copied(split), Space.normalised([0.5], [0.25]), info)


def _copied(split: Split) -> Split:
    """The split in memory of its own: safetensors refuses tensors that share theirs."""
    return Split(split.images.clone(), split.labels.clone())
