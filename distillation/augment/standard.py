"""The usual augmentation of training on real images: random crop and mirror, parameters per image."""

import torch

from distillation.augment.siamese import shifted


def crop_flip(images, generator, flip, pad=None, beyond=None):
    """Pad (N, C, S, S) by ``pad`` with ``beyond`` (1, C, 1, 1), crop back at a random place, mirror half of them.

    ``pad`` None is an eighth of the side (4 at 32 px), ``beyond`` None is 0; ``flip`` says whether a mirrored image keeps
    its class. Draws are made on the CPU from ``generator``.
    """
    pad = round(images.shape[2] / 8) if pad is None else pad
    moves = torch.randint(-pad, pad + 1, (2, len(images)), generator=generator)
    mirror = (torch.rand(len(images), generator=generator) < 0.5) & flip
    images = torch.where(mirror.to(images.device)[:, None, None, None], images.flip(3), images)
    moves = moves.to(images.device)
    if beyond is None:
        return shifted(images, *moves)
    inside = shifted(torch.ones_like(images[:, :1]), *moves) > 0
    return torch.where(inside, shifted(images, *moves), beyond)
