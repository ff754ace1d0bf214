"""Encoded images to uint8 tensors: decoded in memory, resized and recoloured with PIL."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from distillation.data.pixels import opened, planes, shaped
from distillation.runtime.errors import BadInput

BATCH = 1 << 20  # bytes of images that one thread decodes at a time
AHEAD = 32  # batches read before the first of them must be decoded: bounds the memory of a large archive


def decode(members, size=None, colour="auto", squash=False):
    """Decode (name, bytes) pairs to a dict of name to uint8 array, (H, W) where grey and (H, W, 3) where coloured.

    Args:
        members: an iterable; it is read only a little ahead of the decoding threads.
        size, colour, squash: as in ``containers.pixels.opened``; without a size all images must be squares of one size.

    Raises:
        BadInput: an image that does not decode, has too many pixels or 16-bit ones, or sides that do not agree.
    """
    arrays = {}
    for name, pixels in in_order(members, lambda *member: np.asarray(opened(*member, size, colour, squash))):
        arrays[name] = pixels
        _check_side(name, pixels, *next(iter(arrays.items())))
    return arrays


def stack(arrays, channels):
    """Square arrays of one size as a uint8 tensor (N, channels, H, W); grey ones fill every channel.

    The list is emptied on the way, so that both never take their full memory at once.
    """
    side = len(arrays[0])
    images = np.empty((len(arrays), channels, side, side), np.uint8)
    for i, pixels in enumerate(arrays):
        images[i] = planes(pixels)
        arrays[i] = None
    return torch.from_numpy(images)


def reshape(images, size=None, colour="auto"):
    """uint8 images (N, C, H, W) at another size or colour, as ``decode`` would have made them."""
    _, channels, side, _ = images.shape
    if size in (None, side) and colour in ("auto", {1: "grey", 3: "rgb"}[channels]):
        return images
    arrays = images.squeeze(1).numpy() if channels == 1 else images.permute(0, 2, 3, 1).contiguous().numpy()
    arrays = [np.asarray(shaped(Image.fromarray(pixels), size, colour)) for pixels in arrays]
    return stack(arrays, 1 if arrays[0].ndim == 2 else 3)


def in_order(members, work):
    """Yield (name, work(name, content)) in the order of ``members``, from threads."""
    Image.init()  # not safe to leave to the threads
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = deque()
        for batch in _batches(members):
            waiting.append(pool.submit(lambda batch: [(name, work(name, content)) for name, content in batch], batch))
            if len(waiting) == AHEAD:
                yield from waiting.popleft().result()
        for done in waiting:
            yield from done.result()


def _batches(members):
    """Lists of members of about BATCH bytes: handing single small images to threads costs more than decoding them."""
    batch, size = [], 0
    for name, content in members:
        batch.append((name, content))
        size += len(content)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _check_side(name, pixels, first, firsts):
    height, width = pixels.shape[:2]
    if pixels.shape[:2] != firsts.shape[:2]:
        sides = f"{first} ({firsts.shape[1]}x{firsts.shape[0]}) and {name} ({width}x{height})"
        raise BadInput(f"{sides} differ in size: set the dataset's size to resize them all.")
    if height != width:
        raise BadInput(f"{name} is {width}x{height} pixels: set the dataset's size to crop and resize all to squares.")
