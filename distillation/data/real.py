"""A real dataset as one file: uint8 images or the index of their files, labels, and the space that networks see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from distillation.data.indexed import IndexedImages
from distillation.data.spaces import Space
from distillation.runtime import tensors

FILE = "dataset.safetensors"


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8, in memory or in files, and labels (N,) int64."""

    images: Tensor | IndexedImages
    labels: Tensor

    @classmethod
    def read(cls, content, name, info, device):
        """The split ``name`` that ``packed`` described inside a container with the record ``info``."""
        images = content.get(f"{name}_images")
        if images is None:
            images = IndexedImages.read(content, name, info, device)
        return cls(images, content[f"{name}_labels"])

    def packed(self, name):
        """The tensors under names that a container can hold next to its own."""
        indexed = isinstance(self.images, IndexedImages)
        images = self.images.packed(name) if indexed else {f"{name}_images": self.images}
        return {**images, f"{name}_labels": self.labels}

    def to(self, device):
        return Split(self.images.to(device), self.labels.to(device))

    def __len__(self):
        return len(self.labels)


@dataclass(frozen=True)
class RealSet:
    """Train and test splits of a dataset.

    ``info`` has ``name``, ``classes`` (names, in label order), ``channels``, ``size`` (pixels of a side), ``flip``
    (whether a mirrored image keeps its class), ``stats`` (published or computed) and ``files`` (where it came from:
    name and sha256 of each); where images stay in files also ``index`` (which names their folder) and ``colour`` (how
    they are decoded).
    """

    train: Split
    test: Split
    space: Space
    info: dict

    def save(self, folder):
        """Write ``folder/dataset.safetensors``."""
        content = {**self.train.packed("train"), **self.test.packed("test"), **self.space.packed()}
        tensors.save(Path(folder) / FILE, content, {**self.info, "space": self.space.kind})

    @classmethod
    def load(cls, folder, device="cpu"):
        """Read what ``save`` wrote. Raises BadInput where it is missing or broken."""
        content, info = tensors.load(Path(folder) / FILE, device)
        train, test = (Split.read(content, name, info, device) for name in ("train", "test"))
        return cls(train, test, Space.read(info["space"], content), info)

    def to(self, device):
        return replace(self, train=self.train.to(device), test=self.test.to(device), space=self.space.to(device))

    def encode(self, images):
        """uint8 images (N, C, H, W) as float32 in this set's space."""
        return self.space.encode(images.float() / 255)

    @property
    def in_memory(self):
        """Whether the images are pixels already, so that it costs little to look at all of them."""
        return not isinstance(self.train.images, IndexedImages)

    @property
    def classes(self):
        return self.info["classes"]

    @property
    def shape(self):
        """(channels, size, classes): what a network is built for."""
        return self.info["channels"], self.info["size"], len(self.classes)

    @cached_property
    def members(self):
        """Indices (on the CPU) of the training images of each class, in order."""
        labels = self.train.labels.cpu()
        return [torch.nonzero(labels == c).squeeze(1) for c in range(len(self.classes))]

    @property
    def smallest_class(self) -> int:
        """The number of training images of the class that has fewest."""
        return min(map(len, self.members))

    def sample(self, counts: Sequence[int], draws: torch.Generator) -> list[Tensor]:
        """Draws different random training images of each class.

        Args:
            counts: how many of each class; of a class that has fewer, all are taken.
            draws: a CPU generator.

        Returns:
            For each class the indices (n,) of its images, int64 on the CPU.
        """
        orders = [torch.randperm(len(members), generator=draws) for members in self.members]
        return [members[order[:n]] for members, order, n in zip(self.members, orders, counts, strict=True)]


@lru_cache(maxsize=2)
def loaded(folder: Path, device: str) -> RealSet:
    """The RealSet in a folder, on the device; what a process computes next finds it loaded. Raises BadInput as ``load``."""
    return RealSet.load(folder).to(device)
