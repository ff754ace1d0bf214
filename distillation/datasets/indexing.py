"""Datasets too large for memory: an index of image files, which are decoded when they are wanted.

Each image is decoded once here, so that a broken one is found now and not in the middle of a training, and gives its
sha256, its colour and how often each value occurs in it. Files of an archive are unpacked; those of a directory, or beside
a listing, stay where they are.
"""

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distillation.console.progress import Progress
from distillation.data.indexed import IndexedImages
from distillation.data.pixels import opened
from distillation.data.real import Split
from distillation.datasets import archives, folders, pictures
from distillation.datasets.catalogue import INDEXED
from distillation.runtime import process
from distillation.runtime.errors import BadInput
from distillation.runtime.locks import locked

WHOLE = 8 << 30  # bytes of pixels, of both splits, that are held in memory


@dataclass(frozen=True)
class Index:
    """An indexed dataset.

    Attributes:
        name: of the folder of its images; it says what is in them.
        splits: (train, test, class names), as a reader of ``folders`` gives them.
        counts: (C, 256) int64, how often each channel of the training images has each value.
    """

    name: str
    splits: tuple
    counts: Tensor


def wanted(settings, path):
    """Whether the dataset of a DatasetSettings, in ``path``, becomes an index.

    Raises:
        BadInput: it is too large to be held in memory, but the settings are not those of an index.
    """
    if settings.name not in INDEXED or settings.form != "auto":
        return settings.form == "index"
    count, side = _extent(settings, path)
    total = count * side**2 * (1 if settings.colour == "grey" else 3)
    if total > WHOLE and (settings.size is None or settings.zca):
        cure = f"set size to {side}" if settings.size is None else "set zca to false"
        raise BadInput(
            f"{settings.name} has {total:,} bytes of pixels, which are decoded when they are wanted, not held in memory: "
            f"{cure}, or form to whole."
        )
    return total > WHOLE


def _extent(settings, path):
    """How many images there are, and their pixels of a side: the first one's where the settings leave it open."""
    names, side = _names(path), settings.size
    if names and side is None:
        first = next(archives.members(path, names[0].__eq__))
        side = max(opened(*first).size)
    return len(names), side or 0


def _names(path):
    """Those of all images, without reading one."""
    names = []
    for _ in archives.members(path, lambda name: folders.belongs(name) and names.append(name)):
        pass
    return names


def read(path, size, colour, folder):
    """The Index of the imagefolder in ``path``; its images are found in ``folder`` under its name.

    ``size`` and ``colour`` are those of ``containers.pixels.opened``.

    Raises:
        BadInput: as ``folders.imagefolder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{path.name}.lock"), _files_of(path, folder) as (keep, put):
        digests, counts, channels = _looked_at(path, size, colour, keep)
        names, labels, classes = folders.ordered(path, folders.places(path, digests))
        name = _named(digests, names)
        put(folder / name)

    def images(names):
        stacked = np.frombuffer(b"".join(map(digests.get, names)), np.uint8).reshape(-1, 32)
        return IndexedImages(folder / name, names, torch.from_numpy(stacked.copy()), channels, size, colour)

    train, test = (Split(images(names[split]), labels[split]) for split in names)
    return Index(name, (train, test, classes), torch.from_numpy(counts[:channels]))


def _looked_at(path, size, colour, keep):
    """The sha256 of each image by name, the counts (3, 256) of the training images' values, and how many channels there are.

    ``keep`` is called with each file's name and content.
    """

    def look(name, content):
        keep(name, content)
        picture = opened(name, content, size, colour)
        return hashlib.sha256(content).digest(), np.reshape(picture.histogram(), (-1, 256))

    digests, counts, channels = {}, np.zeros((3, 256), np.int64), 1
    with Progress(f"index {path.name}", len(_names(path)), unit="image") as bar:
        for name, (digest, histogram) in pictures.in_order(archives.members(path, folders.belongs), look):
            digests[name] = digest
            channels = max(channels, len(histogram))
            if folders.trains(name):
                counts += histogram  # a grey image fills every channel
            bar.advance()
    return digests, counts, channels


@contextlib.contextmanager
def _files_of(path, folder):
    """A function that keeps a file, given its name and content, and one that makes a place be the folder of all files.

    Those of an archive are unpacked, and moved to the place; to those that are files already it becomes a link.
    """
    if path.is_dir() or archives.lists(path):
        given = process.root().absolute() / path
        yield lambda name, content: None, _cleared(given if path.is_dir() else given.parent, os.symlink)
        return
    partial = folder / f"{path.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)

    def keep(name, content):
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(content)

    try:
        yield keep, _cleared(partial, os.rename)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _cleared(root, put):
    def clear(place):
        if place.is_symlink():
            place.unlink()
        shutil.rmtree(place, ignore_errors=True)
        put(root, place)

    return clear


def _named(digests, names):
    """16 hexadecimal digits that stand for the images of all splits, in their order."""
    total = hashlib.sha256()
    for split in names.values():
        for name in split:
            total.update(name.encode() + b"\0" + digests[name])
    return total.hexdigest()[:16]
