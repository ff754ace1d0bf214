"""The usual augmentation of training on real images: random crop and mirror, parameters per image."""

import torch

from stages.augment.siamese import shifted


def crop_flip(images, generator, flip):
    """Zero-pad (N, C, S, S) by an eighth of its side (4 at 32 px), crop back at a random place, mirror half of them.

    ``flip`` says whether a mirrored image keeps its class. Draws are made on the CPU from ``generator``.
    """
    pad = round(images.shape[2] / 8)
    moves = torch.randint(-pad, pad + 1, (2, len(images)), generator=generator)
    mirror = (torch.rand(len(images), generator=generator) < 0.5) & flip
    images = torch.where(mirror.to(images.device)[:, None, None, None], images.flip(3), images)
    return shifted(images, *moves.to(images.device))
