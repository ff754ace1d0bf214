"""Many encoded images to uint8 tensors, by threads: decoded in memory, resized and recoloured with PIL."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from distillation.data.faults import Faulty, Findings, add, printable
from distillation.data.pixels import decoded, planes, shaped
from distillation.runtime.errors import BadInput

BATCH = 1 << 20  # house: bytes of images that one thread decodes at a time
AHEAD = 32  # house: batches read before the first of them must be decoded: bounds the memory of a large archive

Result = TypeVar("Result")


def decode(
    members: Iterable[tuple[str, bytes]],
    size: int | None = None,
    colour: str = "auto",
    squash: bool = False,
    findings: Findings | None = None,
) -> dict[str, np.ndarray]:
    """Decodes image files to arrays of one size.

    Args:
        members: (name, bytes) pairs; they are read only a little ahead of the decoding threads.
        size: pixels of a side; if None, all images must be squares of one size.
        colour: ``auto`` (each as its file is), ``grey`` or ``rgb``.
        squash: how others than squares become squares, see ``pixels.decoded``.
        findings: what receives faulty images; None refuses the first.

    Returns:
        uint8 arrays by name, in the order of ``members``: (S, S) of grey images and (S, S, 3) of coloured ones.

    Raises:
        BadInput: an image does not decode, has too many pixels or 16-bit ones, and there are no ``findings``; or it
            differs in size from the others.
    """
    arrays = {}
    for name, pixels in in_order(
        members, lambda name, content: np.asarray(decoded(content, size, colour, squash)), findings
    ):
        arrays[name] = pixels
        _check_side(name, pixels, *next(iter(arrays.items())))
    return arrays


def stack(arrays: list[np.ndarray], channels: int) -> torch.Tensor:
    """Stacks square arrays of one size to one tensor.

    The list's entries become None on the way, so that arrays and tensor never take their full memory at once.

    Args:
        arrays: at least one, uint8, (S, S) or (S, S, 3); grey ones fill every channel.
        channels: 1 or 3; 3 if any array is coloured.

    Returns:
        (N, channels, S, S) uint8.
    """
    side = len(arrays[0])
    images = np.empty((len(arrays), channels, side, side), np.uint8)
    for i, pixels in enumerate(arrays):
        images[i] = planes(pixels)
        arrays[i] = None  # pyright: ignore[reportArgumentType, reportCallIssue]  # freed: nobody reads the list any more
    return torch.from_numpy(images)


def reshape(images: torch.Tensor, size: int | None = None, colour: str = "auto") -> torch.Tensor:
    """Converts uint8 images (N, C, S, S), C 1 or 3, to another size or colour, given as to ``decode``."""
    _, channels, side, _ = images.shape
    if size in (None, side) and colour in ("auto", {1: "grey", 3: "rgb"}[channels]):
        return images
    arrays = images.squeeze(1).numpy() if channels == 1 else images.permute(0, 2, 3, 1).contiguous().numpy()
    arrays = [np.asarray(shaped(Image.fromarray(pixels), size, colour)) for pixels in arrays]
    return stack(arrays, 1 if arrays[0].ndim == 2 else 3)


def in_order(
    members: Iterable[tuple[str, bytes]], work: Callable[[str, bytes], Result], findings: Findings | None = None
) -> Iterator[tuple[str, Result]]:
    """Yields (name, work(name, content)) in the order of ``members``, computed by threads, one for each core.

    Args:
        members: (name, bytes) pairs, read at most ``AHEAD`` batches before their results are yielded.
        work: function of a name and its bytes; it may raise Faulty.
        findings: what receives names for which ``work`` raises Faulty, which are not yielded; None refuses the first.

    Raises:
        BadInput: a file is faulty and there are no ``findings``.
    """

    def done(batch: list[tuple[str, bytes]]) -> list[tuple[str, Result | Faulty]]:
        return [(name, _attempt(work, name, content)) for name, content in batch]

    Image.init()  # not thread-safe
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = deque()
        for batch in _batches(members):
            waiting.append(pool.submit(done, batch))
            if len(waiting) == AHEAD:  # else members, which are read faster than decoded, would pile up in memory
                yield from _sound(waiting.popleft().result(), findings)
        for future in waiting:
            yield from _sound(future.result(), findings)


def _attempt(work: Callable[[str, bytes], Result], name: str, content: bytes) -> Result | Faulty:
    """Returns a Faulty that ``work`` raises: findings are not thread-safe, and are kept by the thread that yields."""
    try:
        return work(name, content)
    except Faulty as fault:
        return fault


def _sound(results: list[tuple[str, Result | Faulty]], findings: Findings | None) -> Iterator[tuple[str, Result]]:
    """Yields the results of sound files."""
    for name, result in results:
        if isinstance(result, Faulty):
            add(findings, name, result)
        else:
            yield name, result


def _batches(members: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Groups members into lists of about BATCH bytes: a thread's overhead would exceed the decoding of one small image."""
    batch, size = [], 0
    for name, content in members:
        batch.append((name, content))
        size += len(content)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _check_side(name: str, pixels: np.ndarray, first_name: str, first: np.ndarray) -> None:
    """Raises BadInput unless an image is square and as large as the first one."""
    height, width = pixels.shape[:2]
    name, first_name = printable(name), printable(first_name)
    if pixels.shape[:2] != first.shape[:2]:
        sides = f"{first_name} ({first.shape[1]}x{first.shape[0]}) and {name} ({width}x{height})"
        raise BadInput(f"{sides} differ in size: set the dataset's pixels to resize them all.")
    if height != width:
        raise BadInput(
            f"{name} is {width}x{height} pixels: set the dataset's pixels to crop and resize all to squares."
        )
