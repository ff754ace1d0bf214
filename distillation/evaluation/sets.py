"""The sets of images that networks are trained on: distilled sets and selections of real images.

A source is a small dataclass that holds all that a network's images depend on beside the dataset. It can therefore be
part of a job, whose key covers it: a file by its content, a selection by its indices. All but Noise have one method,
``images``, a function of the RealSet and of the use of the labels (``hard``, or as stored).
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
from distillation.runtime import tensors
from distillation.runtime.random import generator
from distillation.training.selection import k_means

# A function of indices (n,) that gives images (n, C, H, W) and targets (n,) or (n, K), and how many images there are.
Images = tuple[Callable[[Tensor], tuple[Tensor, Tensor]], int]


@dataclass(frozen=True)
class FromFile:
    """A DistilledSet in a file.

    Attributes:
        path: the file.
        labels: the file beside it that holds the teachers (kind online) or their logits (fkd); None for other kinds.
    """

    path: Path
    labels: Path | None = None

    def images(self, data: RealSet, kind: str) -> Images:
        """Returns the images, on the device of ``data``, with the labels that ``kind`` names.

        Args:
            data: the dataset; only its device is used.
            kind: ``hard``: class numbers (n,), the largest entry if the set has label vectors;
                else these vectors (n, K).
        """
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
    """The mean of the real training images of each class, one image a class: a baseline without any optimisation."""

    def images(self, data: RealSet, kind: str) -> Images:
        """Returns the mean images with their hard labels."""
        device = data.train.labels.device
        means = [data.encode(data.train.images[members.to(device)]).mean(0) for members in data.members]
        return _at(torch.stack(means), torch.arange(len(means), device=device))


@dataclass(frozen=True)
class Whole:
    """All real training images: the ceiling of every table."""

    def images(self, data: RealSet, kind: str) -> Images:
        """Returns the images with their hard labels.

        Each batch is encoded when it is used: all images as float32 would need four times the memory.
        """
        split = data.train
        return lambda index: (data.encode(split.images[index]), split.labels[index.to(split.labels.device)]), len(split)


@dataclass(frozen=True)
class Noise:
    """Images of Gaussian noise, drawn anew for every batch and never stored; ``kd`` draws them.

    Attributes:
        count: images of an epoch.
    """

    count: int


Source = FromFile | Chosen | ClassMeans | Whole | Noise


def images_of(source: Source, data: RealSet) -> int:
    """Returns how many images a source has; of a file its record alone is read."""
    if isinstance(source, FromFile):
        with tensors.opened(source.path) as file:
            return file.length("images")
    if isinstance(source, Chosen):
        return len(source.indices)
    if isinstance(source, Noise):
        return source.count
    return len(data.train) if isinstance(source, Whole) else len(data.classes)


def _at(images: Tensor, targets: Tensor | None) -> Images:
    assert targets is not None
    return lambda index: (images[index], targets[index]), len(images)


def random_choice(data: RealSet, ipc: int, draw: int) -> Chosen:
    """Selects random training images, all different.

    Args:
        data: the dataset.
        ipc: images of each class.
        draw: number of the draw: the same number gives the same images.

    Raises:
        BadInput: a class has fewer than ``ipc`` images.
    """
    draws = generator(draw, "random baseline")
    return _joined(data.sample([ipc] * len(_enough(data, ipc)), draws))


def k_means_choice(data: RealSet, ipc: int) -> Chosen:
    """Selects the training images of each class nearest to the k-means centroids of its pixels, in the dataset's space.

    Classes are clustered by one thread each, as many at a time as torch has threads; their number changes no bit.

    Args:
        data: the dataset, whose images are in memory.
        ipc: clusters, and so images, of each class.

    Raises:
        BadInput: a class has fewer than ``ipc`` images.
    """
    import sklearn.cluster  # noqa: F401 (slow; here, since a limit holds for the libraries that are loaded)

    def chosen(members: Tensor) -> Tensor:
        pixels = data.encode(data.train.images[members.to(data.train.labels.device)])
        return members[k_means(pixels.flatten(1), ipc, seed=0)]  # one seed: the same images for every student

    # Each call limits BLAS to a thread of its own and at its end sets back what it found, so the limit is here already.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool, threadpool_limits(1):
        return _joined(pool.map(chosen, _enough(data, ipc)))


def affords_all_pixels(data: RealSet) -> bool:
    """Whether baselines that read all pixels at once (k-means, class means) are made; else a note on stderr tells.

    False for a dataset whose images stay in files: each of their passes would decode every file.
    """
    if not data.in_memory:
        print("note: the images are decoded when they are wanted: no k-means and no class means.", file=sys.stderr)
    return data.in_memory


def _joined(chosen: Iterable[Tensor]) -> Chosen:
    return Chosen(tuple(torch.cat(list(chosen)).tolist()))


def _enough(data: RealSet, ipc: int) -> list[Tensor]:
    """Returns the indices of the training images of each class; raises BadInput if a class has fewer than ``ipc``."""
    data.require(ipc)
    return data.members
