"""Distilled images as arrays for display: by class, decoded to raw pixels, and clamped only here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distillation.report import lettering

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet

CLASSES, IMAGES = 10, 10  # house: the page shows at most so many
LINE = {1: 5, 2: 5}  # house: classes side by side in a figure, by the number of images of each; else ten


@dataclass(frozen=True)
class ClassImages:
    """The first images of one class.

    Attributes:
        name: of the class; empty if images have no class.
        images: arrays (size, size, 3) uint8.
        number: of the class, from 0 on.
    """

    name: str
    images: list[np.ndarray]
    number: int = 0

    @property
    def label(self) -> str:
        """The name as figures have it: short, and ``#`` with the number where no font has its characters."""
        return lettering.label(self.name, f"#{self.number}")


def first_images(distilled: "DistilledSet") -> list[ClassImages]:
    """Selects the images that the report shows, as raw pixels clamped to [0, 1].

    Args:
        distilled: the set.

    Returns:
        The first ``CLASSES`` classes that have images, each with its first ``IMAGES`` images. Images without classes
        fill at most as many groups without a name.
    """
    raw = distilled.space.decode(distilled.images).clamp(0, 1)
    pixels = (raw * 255).round().byte().permute(0, 2, 3, 1).numpy()
    pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3)) if pixels.shape[3] == 1 else pixels
    if distilled.labels is None:
        columns = (pixels[place : place + IMAGES] for place in range(0, min(len(pixels), CLASSES * IMAGES), IMAGES))
        return [ClassImages("", list(column)) for column in columns]
    labels = distilled.labels.numpy()
    present = [c for c in range(len(distilled.info["classes"])) if (labels == c).any()]
    return [
        ClassImages(str(distilled.info["classes"][c]), list(pixels[labels == c][:IMAGES]), c) for c in present[:CLASSES]
    ]


def extent(distilled: "DistilledSet") -> str:
    """A sentence about the images that ``first_images`` leaves out; empty if there are none."""
    if distilled.labels is None:
        most = CLASSES * IMAGES
        return f"Shown: the first {most} of {len(distilled.images)} images." if len(distilled.images) > most else ""
    counts = distilled.labels.bincount()
    classes, most = int((counts > 0).sum()), int(counts.max())
    parts = [f"{CLASSES} of {classes} classes"] if classes > CLASSES else []
    parts += [f"the first {IMAGES} of {most} images of each"] if most > IMAGES else []
    return f"Shown: {' and '.join(parts)}." if parts else ""


def canvas(classes: Sequence[ClassImages], side: int = 96) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Puts all images on one transparent canvas, a column for each class, in several lines if there are many classes.

    Pixels are repeated, never interpolated, until an image is at least ``side`` pixels wide.

    Args:
        classes: images by class, all of one size.
        side: the least width of an image on the canvas.

    Returns:
        (H, W, 4) uint8 and a list of (label, x, y): the middle of each label's baseline.
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
        names.append((one.label, left + tile / 2, top - tile // 10))
        for j, image in enumerate(one.images):
            place = out[top + j * cell :, left:][:tile, :tile]
            place[..., :3] = image.repeat(scale, 0).repeat(scale, 1)
            place[..., 3] = 255  # what is between images stays transparent, for light and dark pages
    return out, names
