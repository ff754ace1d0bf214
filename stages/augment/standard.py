"""The usual augmentation of training on real images: random crop and mirror, parameters per image."""

import torch


def crop_flip(images, generator, flip):
    """Zero-pad (N, C, H, W) by an eighth of its side (4 at 32 px), crop back at a random place, mirror half of them.

    ``flip`` says whether a mirrored image keeps its class. Draws are made on the CPU from ``generator``.
    """
    count, _, height, width = images.shape
    pad = round(height / 8)
    shifts = torch.randint(-pad, pad + 1, (count, 2), generator=generator)
    mirror = torch.rand(count, generator=generator) < 0.5 if flip else torch.zeros(count, dtype=torch.bool)
    rows = torch.arange(height) + shifts[:, :1]
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirror[:, None], columns.flip(1), columns) + shifts[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    flat = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    flat, inside = flat.flatten(1).to(images.device), inside.to(images.device)
    moved = images.flatten(2).gather(2, flat[:, None].expand(-1, images.shape[1], -1))
    return moved.view_as(images) * inside[:, None]
