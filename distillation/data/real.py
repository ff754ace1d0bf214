"""A real dataset as one file: uint8 images or the index of their files, labels, and the space of the networks' inputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from distillation.data import valid
from distillation.data.faults import NAMED, printable
from distillation.data.indexed import IndexedImages
from distillation.data.spaces import Space
from distillation.runtime import tensors
from distillation.runtime.errors import BadInput

FILE = "dataset.safetensors"


@dataclass(frozen=True)
class Split:
    """The training or the test images of a dataset, with their labels.

    Attributes:
        images: (N, C, H, W) uint8, raw pixels: a Tensor, or IndexedImages that are decoded when they are used.
        labels: (N,) int64, the class of each image, from 0 on.
    """

    images: Tensor | IndexedImages
    labels: Tensor

    @classmethod
    def read(cls, content: Mapping[str, Tensor], name: str, info: dict, device: torch.device | str) -> Self:
        """Restores a split from the file of a RealSet.

        Args:
            content: the file's tensors, among them those of ``packed``.
            name: ``train`` or ``test``.
            info: the file's record.
            device: where images in files are decoded to; images in memory stay on the device of ``content``.
        """
        images = content.get(f"{name}_images")
        if images is None:
            images = IndexedImages.read(content, name, info, device)
        return cls(images, content[f"{name}_labels"])

    def packed(self, name: str) -> dict[str, Tensor]:
        """Returns the split as tensors that a file can hold; ``read`` restores it from them and the file's record.

        Args:
            name: ``train`` or ``test``, by which the names of the tensors begin.

        Returns:
            ``{name}_labels`` (N,) int64 and ``{name}_images`` (N, C, H, W) uint8, not copied; of images that stay in files,
            the tensors of their index instead (see ``IndexedImages.packed``).
        """
        images = self.images
        content = images.packed(name) if isinstance(images, IndexedImages) else {f"{name}_images": images}
        return {**content, f"{name}_labels": self.labels}

    def to(self, device: torch.device | str) -> "Split":
        """The same split on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class RealSet:
    """A real dataset: train and test splits, and how pixels become inputs of networks.

    Attributes:
        train: the training images: what methods, teachers and baselines use.
        test: the test images, on which networks are tested.
        space: the map from raw pixels in [0, 1] to the networks' inputs, such as normalisation by channel.
        info: the record.

            - ``name``, ``channels``, ``size`` (pixels of a side);
            - ``classes``: their names, in label order;
            - ``flip``: whether a mirrored image keeps its class;
            - ``stats``: where mean and std are from: ``published``, ``computed``, ``given`` or the name of a dataset;
            - ``files``: name and sha256 of each source file;
            - ``index`` (name of the folder of the images) and ``colour`` (see ``pixels.opened``), if images stay in files;
            - ``skipped``: fault of each faulty file by its name, if any was skipped.
    """

    train: Split
    test: Split
    space: Space
    info: dict

    def save(self, folder: str | Path) -> None:
        """Writes the set as ``folder/dataset.safetensors``, atomically; of images in files only their index."""
        content = {**self.train.packed("train"), **self.test.packed("test"), **self.space.packed()}
        tensors.save(Path(folder) / FILE, content, {**self.info, "space": self.space.kind})

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> Self:
        """Loads and checks what ``save`` wrote.

        Args:
            folder: the folder of the file.
            device: where tensors are loaded to, and images in files decoded to.

        Raises:
            BadInput: the file is missing or damaged, or the set is not what is described above.
        """
        path = Path(folder) / FILE
        content, info = tensors.load(path, device)
        valid.check_record(valid.RealRecord, info, path)
        parts = ["labels", *(["paths", "sha256"] if "index" in info else ["images"])]
        valid.check_names(content, [f"{split}_{part}" for split in ("train", "test") for part in parts], path)
        train, test = (Split.read(content, name, info, device) for name in ("train", "test"))
        restored = cls(train, test, Space.read(str(info.get("space")), content), info)
        valid.check_real(restored, path)
        return restored

    def to(self, device: torch.device | str) -> "RealSet":
        """The same dataset on ``device``."""
        return replace(self, train=self.train.to(device), test=self.test.to(device), space=self.space.to(device))

    def encode(self, images: Tensor) -> Tensor:
        """Converts uint8 images (N, C, H, W) to inputs of networks: float32 in this set's space, of the same shape."""
        return self.space.encode(images.float() / 255)

    @property
    def in_memory(self) -> bool:
        """Whether the images are decoded already, so that a pass over all of them is cheap."""
        return not isinstance(self.train.images, IndexedImages)

    @property
    def skipped(self) -> dict[str, dict[str, str]]:
        """The entry ``skipped`` of the record, for other records; empty if no file was skipped."""
        return {"skipped": self.info["skipped"]} if "skipped" in self.info else {}

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in label order."""
        return self.info["classes"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, pixels of a side, number of classes), the arguments by which a network is built."""
        return self.info["channels"], self.info["size"], len(self.classes)

    @cached_property
    def members(self) -> list[Tensor]:
        """For each class, in label order, the indices (n,) int64 on the CPU of its training images, ascending."""
        labels = self.train.labels.cpu()
        return [torch.nonzero(labels == c).squeeze(1) for c in range(len(self.classes))]

    def shorter(self, count: int) -> dict[str, int]:
        """The classes with fewer than ``count`` training images: the number of their images by the class's name."""
        return _shorter(self.classes, map(len, self.members), count)

    def require(self, ipc: int) -> None:
        """Raises BadInput if a class has fewer than ``ipc`` training images, for what selects so many of each."""
        _require(self.info["name"], self.shorter(ipc), ipc)

    def sample(self, counts: Sequence[int], draws: torch.Generator) -> list[Tensor]:
        """Draws random training images of each class, without replacement.

        Args:
            counts: number of images for each class, in label order; of a class with fewer, all are drawn.
            draws: a CPU generator.

        Returns:
            For each class the indices (n,) of its images in the training split, int64 on the CPU, in random order.
        """
        # whole permutations, so that the first images drawn are the same whatever the counts
        orders = [torch.randperm(len(members), generator=draws) for members in self.members]
        return [members[order[:n]] for members, order, n in zip(self.members, orders, counts, strict=True)]


def require_images(folder: Path, ipc: int) -> None:
    """Raises BadInput as ``RealSet.require`` does, for the set in a folder; images, which take gigabytes, are not read."""
    path = folder / FILE
    with tensors.opened(path) as file:
        valid.check_record(valid.RealRecord, file.info, path)
        valid.check_names(file.names, ["train_labels"], path)
        labels, classes = file.get("train_labels"), file.info["classes"]
    valid.check_labels(labels, len(labels), len(classes), path)
    sizes = torch.bincount(labels, minlength=len(classes)).tolist()
    _require(file.info["name"], _shorter(classes, sizes, ipc), ipc)


def _shorter(classes: Sequence[str], sizes: Iterable[int], count: int) -> dict[str, int]:
    """Returns the sizes below ``count`` by the names of their classes."""
    return {name: size for name, size in zip(classes, sizes, strict=True) if size < count}


def _require(name: str, short: Mapping[str, int], ipc: int) -> None:
    """Raises BadInput if classes of the dataset ``name`` are too short for ``ipc`` images of each."""
    if short:
        raise BadInput(
            f"method.ipc is {ipc}, but {name} has fewer training images of {listed(short)}: set it to "
            f"{min(short.values())} or less, or add images."
        )


def listed(sizes: Mapping[str, int]) -> str:
    """A list for a sentence: the first ten classes with the numbers of their images, and how many more there are.

    Args:
        sizes: numbers of images by the class's name, as ``RealSet.shorter`` returns them.
    """
    first = [f"'{printable(name)}' ({size})" for name, size in list(sizes.items())[:NAMED]]
    return ", ".join(first) + (f" and {len(sizes) - NAMED:,} more classes" if len(sizes) > NAMED else "")


def loaded(folder: Path, device: str) -> RealSet:
    """Loads the RealSet of a folder onto a device, for work that worker processes compute.

    The two sets used last stay in memory: a process computes many tasks on the same data, one after the other.

    Args:
        folder: the folder that ``RealSet.save`` wrote.
        device: where its images, labels and space go.

    Raises:
        BadInput: as ``RealSet.load``.
    """
    return _loaded(folder.resolve(), device)  # a relative path means another folder elsewhere


@lru_cache(maxsize=2)  # two: the work of the stage kd reads two datasets
def _loaded(folder: Path, device: str) -> RealSet:
    return RealSet.load(folder).to(device)
