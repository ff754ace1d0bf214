"""The sets of images that networks are trained on: distilled sets and selections of real images.

A source is a small dataclass with one method, ``images``. It holds all that a network's images depend on beside the
dataset, so that it can be part of a job.
"""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.runtime.random import generator
from distillation.training.selection import k_means

# A function of indices (n,) that gives images (n, C, H, W) and targets (n,) or (n, K), and how many images there are.
Images = tuple[Callable[[Tensor], tuple[Tensor, Tensor]], int]


@dataclass(frozen=True)
class FromFile:
    """The DistilledSet in ``path``; ``labels`` is the file beside it that holds labels of the kinds online and fkd."""

    path: Path
    labels: Path | None = None

    def images(self, data: RealSet, kind: str) -> Images:
        """Returns the images with their labels, hard for that ``kind``, otherwise as stored."""
        distilled = DistilledSet.load(self.path, data.train.labels.device)
        if kind != "hard":
            return _at(distilled.images, distilled.targets)
        return _at(distilled.images, distilled.labels if distilled.targets is None else distilled.targets.argmax(1))


@dataclass(frozen=True)
class Chosen:
    """The real training images at ``indices``, with their labels."""

    indices: tuple[int, ...]

    def images(self, data: RealSet, kind: str) -> Images:
        """Returns the images with their hard labels."""
        index = torch.tensor(self.indices, device=data.train.labels.device)
        return _at(data.encode(data.train.images[index]), data.train.labels[index])


@dataclass(frozen=True)
class ClassMeans:
    """The mean of the real training images of each class, one image a class."""

    def images(self, data: RealSet, kind: str) -> Images:
        """Returns the mean images with their hard labels."""
        device = data.train.labels.device
        means = [data.encode(data.train.images[members.to(device)]).mean(0) for members in data.members]
        return _at(torch.stack(means), torch.arange(len(means), device=device))


@dataclass(frozen=True)
class Whole:
    """All real training images."""

    def images(self, data: RealSet, kind: str) -> Images:
        """Returns the images with their hard labels, encoded batch by batch."""
        split = data.train
        return lambda index: (data.encode(split.images[index]), split.labels[index.to(split.labels.device)]), len(split)


@dataclass(frozen=True)
class Noise:
    """``count`` images that are drawn anew for every batch; they are never stored."""

    count: int


Source = FromFile | Chosen | ClassMeans | Whole | Noise


def _at(images: Tensor, targets: Tensor | None) -> Images:
    assert targets is not None
    return lambda index: (images[index], targets[index]), len(images)


def random_choice(data: RealSet, ipc: int, draw: int) -> Chosen:
    """Selects ``ipc`` random training images of each class.

    Raises:
        BadInput: a class has fewer.
    """
    draws = generator(draw, "random baseline")
    return _joined(data.sample([ipc] * len(_enough(data, ipc)), draws))


def k_means_choice(data: RealSet, ipc: int) -> Chosen:
    """Selects the images of each class nearest to the k-means centroids of its pixels.

    Classes are clustered by one thread each, as many at a time as torch has threads; their number changes no bit.

    Raises:
        BadInput: a class has fewer than ``ipc`` images.
    """
    import sklearn.cluster  # noqa: F401 (slow; here, since a limit holds for the libraries that are loaded)

    def chosen(members: Tensor) -> Tensor:
        pixels = data.encode(data.train.images[members.to(data.train.labels.device)])
        return members[k_means(pixels.flatten(1), ipc, seed=0)]

    # Each call limits BLAS to a thread of its own and at its end sets back what it found, so the limit is here already.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool, threadpool_limits(1):
        return _joined(pool.map(chosen, _enough(data, ipc)))


def affords_all_pixels(data: RealSet) -> bool:
    """Whether k-means and class-mean baselines are made; prints a note and returns False for an indexed dataset."""
    if not data.in_memory:
        print("note: the images are decoded when they are wanted: no k-means and no class means.", file=sys.stderr)
    return data.in_memory


def _joined(chosen: Iterable[Tensor]) -> Chosen:
    return Chosen(tuple(torch.cat(list(chosen)).tolist()))


def _enough(data: RealSet, ipc: int) -> list[Tensor]:
    data.require(ipc)
    return data.members
