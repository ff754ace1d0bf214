"""Distilled images as arrays that a person can look at: by class, decoded, and clamped only here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet

CLASSES, IMAGES = 10, 10  # at most so many are shown
LINE = {1: 5, 2: 5}  # classes side by side in a figure, by images of each class; else ten


@dataclass(frozen=True)
class Shown:
    """One class: its name and its first images, a list of (size, size, 3) uint8."""

    name: str
    images: list


def shown(distilled: "DistilledSet") -> list[Shown]:
    """The first ``CLASSES`` classes that have images, with their first ``IMAGES`` images.

    Images of no class come in as many columns without a name.
    """
    raw = distilled.space.decode(distilled.images).clamp(0, 1)
    pixels = (raw * 255).round().byte().permute(0, 2, 3, 1).numpy()
    pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3)) if pixels.shape[3] == 1 else pixels
    if distilled.labels is None:
        columns = (pixels[place : place + IMAGES] for place in range(0, min(len(pixels), CLASSES * IMAGES), IMAGES))
        return [Shown("", list(column)) for column in columns]
    labels = distilled.labels.numpy()
    present = [c for c in range(len(distilled.info["classes"])) if (labels == c).any()]
    return [Shown(str(distilled.info["classes"][c]), list(pixels[labels == c][:IMAGES])) for c in present[:CLASSES]]


def extent(distilled: "DistilledSet") -> str:
    """What ``shown`` leaves out, as a sentence; empty where it shows everything."""
    if distilled.labels is None:
        most = CLASSES * IMAGES
        return f"Shown: the first {most} of {len(distilled.images)} images." if len(distilled.images) > most else ""
    counts = distilled.labels.bincount()
    classes, most = int((counts > 0).sum()), int(counts.max())
    parts = [f"{CLASSES} of {classes} classes"] if classes > CLASSES else []
    parts += [f"the first {IMAGES} of {most} images of each"] if most > IMAGES else []
    return f"Shown: {' and '.join(parts)}." if parts else ""


def canvas(classes: Sequence[Shown], side: int = 96) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """All images on one transparent canvas, a column for each class, and where the names go.

    Pixels are repeated, never interpolated, to at least ``side``.

    Returns:
        (H, W, 4) uint8 and a list of (name, x, y): the middle of each name's baseline.
    """
    size = classes[0].images[0].shape[0]
    scale = max(1, -(-side // size))
    tile = size * scale
    gap, head = tile // 12, tile * 3 // 8
    cell = tile + gap
    most = max(len(one.images) for one in classes)
    line = min(LINE.get(most, 10), len(classes))
    lines = -(-len(classes) // line)
    height = head + most * cell + gap
    out = np.zeros((lines * height - gap, line * cell - gap, 4), np.uint8)
    names = []
    for i, one in enumerate(classes):
        top, left = i // line * height + head, i % line * cell
        names.append((one.name, left + tile / 2, top - tile // 10))
        for j, image in enumerate(one.images):
            place = out[top + j * cell :, left:][:tile, :tile]
            place[..., :3] = image.repeat(scale, 0).repeat(scale, 1)
            place[..., 3] = 255
    return out, names
