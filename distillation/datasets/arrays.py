"""Datasets published as arrays of pixels, not as image files.

Each reader takes the paths of the published files, in the catalogue's order, and returns (train, test), two Splits with
images (N, C, S, S) uint8 and labels (N,) int64 from 0 on. The files have been verified before (``downloads.fetch``);
what is no file of that format nevertheless raises BadInput, of some formats another error.
"""

import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distillation.data.real import Split
from distillation.datasets import archives
from distillation.runtime.errors import BadInput

IMAGENET64_COUNTS = (1_281_167, 50_000)


def digits() -> tuple[Split, Split]:
    """Reads the 1,797 scans of 8x8 pixels in scikit-learn (UCI's optical digits, test part); no download.

    Values 0..16 become 0..255. Every fifth image of each class, in their order, is a test image: a fixed, stratified
    split without any draw (1,442 train, 355 test).
    """
    from sklearn.datasets import load_digits

    scans: Any = load_digits()  # a Bunch; its stub has a tuple, which depends on an argument
    images = np.rint(scans.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = scans.target.astype(np.int64)
    rank = np.empty(len(labels), np.int64)  # the place of each image among those of its class
    for c in range(10):
        rank[labels == c] = np.arange((labels == c).sum())
    test = rank % 5 == 4
    return _split(images[~test], labels[~test]), _split(images[test], labels[test])


def mnist(train_images: Path, train_labels: Path, test_images: Path, test_labels: Path) -> tuple[Split, ...]:
    """Reads MNIST's four gzipped idx files: (N, 1, 28, 28); Fashion-MNIST has the same format."""
    return tuple(
        _split(_idx(images, 3)[:, None], _idx(labels, 1))
        for images, labels in ((train_images, train_labels), (test_images, test_labels))
    )


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """Reads a gzipped idx file of uint8 values with a number of dimensions.

    Its format: two zero bytes, the type 8 (uint8), the number of dimensions, each size as big-endian uint32, the
    values.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is cut short or corrupt ({error}): fetch it again.") from error
    start = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) - start != np.prod(shape):
        raise BadInput(f"{path} is no idx file of {dimensions} dimensions: fetch it again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def svhn(train: Path, test: Path) -> tuple[Split, Split]:
    """Reads SVHN's cropped digits from MATLAB files: X (32, 32, 3, N), and y (N, 1) with 10 for the digit 0.

    The additional training images that SVHN also has ("extra") are left out.
    """
    return _mat(train), _mat(test)


def _mat(path: Path) -> Split:
    """Reads one split of SVHN."""
    from scipy.io import loadmat

    content = loadmat(path)
    return _split(content["X"].transpose(3, 2, 0, 1), content["y"].reshape(-1) % 10)


def cifar10(archive: Path) -> tuple[Split, ...]:
    """Reads CIFAR-10's binary tar: records of the label and 3 planes of 32 rows of 32 pixels."""
    return _cifar(archive, label=0, head=1)


def cifar100(archive: Path) -> tuple[Split, ...]:
    """Reads CIFAR-100's binary tar: as CIFAR-10's, with the coarse label in front of the fine one, which is kept."""
    return _cifar(archive, label=1, head=2)


def _cifar(archive: Path, label: int, head: int) -> tuple[Split, ...]:
    """Reads a binary tar of CIFAR.

    Args:
        archive: the tar.
        label: place of the label in a record.
        head: bytes of a record before its 3 · 32 · 32 = 3072 pixels.
    """
    records = {}
    for name, content in archives.members(archive, lambda name: name.endswith(".bin")):
        if len(content) % (head + 3072):
            raise BadInput(f"{archive} holds {name} of {len(content)} bytes, no whole records: fetch it again.")
        records[name.rpartition("/")[2]] = np.frombuffer(content, np.uint8).reshape(-1, head + 3072)
    # sorted: data_batch_1 to data_batch_5, in whatever order the archive has them
    train = np.concatenate([records[name] for name in sorted(records) if not name.startswith("test")])
    test = np.concatenate([records[name] for name in sorted(records) if name.startswith("test")])
    return tuple(_split(rows[:, head:].reshape(-1, 3, 32, 32), rows[:, label]) for rows in (train, test))


def stl10(archive: Path) -> tuple[Split, ...]:
    """Reads STL-10's binary tar: 3 planes of 96 *columns* of 96 pixels; labels from 1. Unlabelled images are left out."""
    files = {f"{split}_{part}.bin" for split in ("train", "test") for part in "Xy"}
    content = {
        name.rpartition("/")[2]: np.frombuffer(values, np.uint8)
        for name, values in archives.members(archive, lambda name: name.rpartition("/")[2] in files)
    }
    return tuple(
        _split(content[f"{split}_X.bin"].reshape(-1, 3, 96, 96).swapaxes(2, 3), content[f"{split}_y.bin"] - 1)
        for split in ("train", "test")
    )


def imagenet64(part1: Path, part2: Path, val: Path, counts: tuple[int, int] = IMAGENET64_COUNTS) -> tuple[Split, Split]:
    """Reads ImageNet at 64x64 (Chrabaszcz et al., 2017): zips of npz files with ``data`` (N, 12288), ``labels`` from 1.

    Args:
        part1: zip of the first half of the training images.
        part2: zip of the second half.
        val: zip of the validation images, which are the test split.
        counts: numbers of (train, test) images, allocated beforehand and filled one npz at a time: the pixels take
            15.7 GB, once.
    """
    return _npz([part1, part2], counts[0]), _npz([val], counts[1])


def _npz(paths: Sequence[Path], count: int) -> Split:
    images = np.empty((count, 3, 64, 64), np.uint8)
    labels = np.empty(count, np.int64)
    at = 0
    for path in paths:
        for _, content in archives.members(path, lambda name: name.endswith(".npz")):
            with np.load(io.BytesIO(content), allow_pickle=False) as part:
                rows = slice(at, at := at + len(part["labels"]))
                if at > count:
                    raise BadInput(f"{path} brings the images to more than {count:,}: fetch it again.")
                labels[rows] = part["labels"] - 1
                images[rows] = part["data"].reshape(-1, 3, 64, 64)
    if at < count:
        raise BadInput(f"{', '.join(map(str, paths))} hold {at:,} images instead of {count:,}: fetch them again.")
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))


READERS = {
    "digits": digits,
    "mnist": mnist,
    "fashionmnist": mnist,
    "svhn": svhn,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "stl10": stl10,
    "imagenet64": imagenet64,
}
