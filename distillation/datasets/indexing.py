"""Datasets too large for memory: making the index of their image files, which are decoded when they are used.

``data.indexed`` is what an index is. Each image is decoded once here, for its SHA-256, its colour and its histogram,
and so that a damaged one is found now and not in the middle of a training. Files of an archive are unpacked; those of a
directory, or beside a listing, stay in place.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from distillation.console.progress import Progress
from distillation.data.faults import Faulty, Findings
from distillation.data.indexed import IndexedImages
from distillation.data.pixels import decoded
from distillation.data.real import Split
from distillation.datasets import archives, folders, pictures
from distillation.datasets.catalogue import INDEXED
from distillation.runtime import process
from distillation.runtime.errors import BadInput
from distillation.runtime.locks import locked

if TYPE_CHECKING:
    from distillation.datasets.settings import DatasetSettings

WHOLE = 8 << 30  # house: bytes of pixels, of both splits, up to which a dataset is held in memory


@dataclass(frozen=True)
class Index:
    """An indexed dataset, as ``read`` returns it.

    Attributes:
        name: name of the folder of its images, a digest of their names and contents (16 hexadecimal digits).
        splits: (train, test, class names), as a reader of ``folders`` returns them, with IndexedImages.
        counts: (C, 256) int64, histogram of each channel of the training images.
    """

    name: str
    splits: tuple
    counts: Tensor


def needs_index(settings: "DatasetSettings", paths: list[Path]) -> bool:
    """Whether a dataset becomes an index: by the setting ``form`` or, if that is auto, above 8 GB of pixels.

    Pixels are counted at one byte a value, three of each if images may be coloured, of both splits.

    Args:
        settings: of the dataset.
        paths: its files; of a dataset that can be an index it is one.

    Raises:
        BadInput: it is too large to be held in memory, but its settings exclude an index.
    """
    if settings.name not in INDEXED or settings.form != "auto":
        return settings.form == "index"
    count, side = _extent(settings, paths[0])
    total = count * side**2 * (1 if settings.colour == "grey" else 3)
    if total > WHOLE and (settings.pixels is None or settings.zca):
        cure = f"set pixels to {side}" if settings.pixels is None else "set zca to false"
        raise BadInput(
            f"{settings.name} has {total:,} bytes of pixels, which are decoded when they are wanted, not held in memory: "
            f"{cure}, or form to whole."
        )
    return total > WHOLE


def _extent(settings: "DatasetSettings", path: Path) -> tuple[int, int]:
    """The number of images, and their pixels of a side: of the first image if the settings name no pixels."""
    count, side = _count(path), settings.pixels
    return count, side or _first_side(path)


def _count(path: Path) -> int:
    """The number of images by their names, without reading one; those that will not decode are counted, too."""
    names = []
    for _ in archives.members(path, lambda name: folders.belongs(name) and names.append(name), Findings()):
        pass
    return len(names)


def _first_side(path: Path) -> int:
    """The longer side of the first image that decodes, in pixels; 0 if none does."""
    for _, content in folders.images(path, Findings()):
        with contextlib.suppress(Faulty):
            return max(decoded(content).size)
    return 0


def read(path: Path, size: int, colour: str, folder: Path, findings: Findings) -> Index:
    """Makes the index of an imagefolder and puts the files of its images into place.

    Every image is decoded once. One process at a time indexes the same path.

    Args:
        path: directory, archive or listing.
        size: pixels of a side to which images will be cropped and resized when they are used.
        colour: ``auto``, ``grey`` or ``rgb``, as in ``pixels.decoded``.
        folder: the folder in which a folder with the index's name will hold the images, or link to them.
        findings: what receives faulty files, and decides whether they are skipped.

    Returns:
        The Index.

    Raises:
        BadInput: as ``folders.imagefolder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # the folder's name is known only when all images have been read: until then files lie in a temporary one
    with locked(folder / f"{path.name}.lock"), _files_of(path, folder) as (keep, put):
        digests, counts, channels = _scan(path, size, colour, keep, findings)
        findings.settle(path)
        names, labels, classes = folders.ordered(path, folders.places(path, digests), folders.expected(findings))
        name = _name_of(digests, names)
        put(folder / name)

    def images(names: list[str]) -> IndexedImages:
        stacked = np.frombuffer(b"".join(map(digests.__getitem__, names)), np.uint8).reshape(-1, 32)
        return IndexedImages(folder / name, names, torch.from_numpy(stacked.copy()), channels, size, colour)

    train, test = (Split(images(names[split]), labels[split]) for split in names)
    return Index(name, (train, test, classes), torch.from_numpy(counts[:channels]))


def _scan(
    path: Path, size: int, colour: str, keep: Callable[[str, bytes], None], findings: Findings
) -> tuple[dict[str, bytes], np.ndarray, int]:
    """Decodes each image once.

    Args:
        path: as in ``read``.
        size: as in ``read``.
        colour: as in ``read``.
        keep: function that is called with the name and content of each image that decodes.
        findings: as in ``read``.

    Returns:
        The SHA-256 (32 bytes) of each image by name, the histograms (3, 256) of the training images' channels, and the
        number of channels.
    """

    def look(name: str, content: bytes) -> tuple[bytes, np.ndarray]:
        picture = decoded(content, size, colour)
        keep(name, content)
        return hashlib.sha256(content).digest(), np.reshape(picture.histogram(), (-1, 256))

    digests, counts, channels = {}, np.zeros((3, 256), np.int64), 1
    with Progress(f"index {path.name}", _count(path), unit="image") as bar:
        for name, (digest, histogram) in pictures.in_order(folders.images(path, findings), look, findings):
            digests[name] = digest
            channels = max(channels, len(histogram))
            if folders.trains(name):
                counts += histogram  # a grey image fills every channel
            bar.advance()
    return digests, counts, channels


@contextlib.contextmanager
def _files_of(path: Path, folder: Path) -> Iterator[tuple[Callable[[str, bytes], None], Callable[[Path], None]]]:
    """Yields two functions by which the files of a dataset get into a folder.

    The first, of a name and content, keeps one file: it unpacks it, if the dataset is an archive, and does nothing for
    a directory or listing, whose files exist already. The second, of a path, puts the folder of all files there: it
    moves the unpacked files, or makes a link to those that exist.
    """
    if path.is_dir() or archives.lists(path):
        source = process.root().absolute() / path
        yield lambda name, content: None, _cleared(source if path.is_dir() else source.parent, os.symlink)
        return
    partial = folder / f"{path.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)

    def keep(name: str, content: bytes) -> None:
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(content)

    try:
        yield keep, _cleared(partial, os.rename)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _cleared(root: Path, put: Callable[[Path, Path], None]) -> Callable[[Path], None]:
    """A function of a path that removes what lies there and calls ``put(root, path)``."""

    def clear(place: Path) -> None:
        if place.is_symlink():
            place.unlink()
        shutil.rmtree(place, ignore_errors=True)
        put(root, place)

    return clear


def _name_of(digests: Mapping[str, bytes], names: Mapping[str, list[str]]) -> str:
    """Digests the names and contents of the images of all splits, in their order: 16 hexadecimal digits."""
    total = hashlib.sha256()
    for split in names.values():
        for name in split:
            total.update(name.encode() + b"\0" + digests[name])
    return total.hexdigest()[:16]
