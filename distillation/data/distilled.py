"""A distilled set as one file, with a record of what its numbers are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from distillation.data import valid
from distillation.data.spaces import Space
from distillation.runtime import tensors

FILE = "distilled.safetensors"


@dataclass(frozen=True)
class DistilledSet:
    """Synthetic images with their labels.

    Attributes:
        images: (M, C, H, W) float32, in ``space``; students train on exactly these numbers, never clamped or rescaled
            (``info['feed']`` is ``stored``).
        labels: (M,) int64, the class of each image; None for images without a class.
        targets: (M, K) float32 if ``info['labels']`` is ``soft`` (probabilities), ``logits``, ``regression`` (learnt
            regression targets) or ``features``; else None.
        space: the map between raw pixels and ``images``.
        info: the record.

            - ``labels`` (the label kind), ``feed``, ``method``, ``seed``, ``ipc``, ``classes``, ``dataset``, always;
            - ``origin`` and ``file``, if the images come from another program;
            - ``chosen``, of a coreset: the indices of its images in the training split;
            - ``lr``, if the method learnt a learning rate for students;
            - ``teacher`` (pool, networks, accuracies), once a teacher has labelled the set;
            - ``pixels`` (``png`` or ``jpeg``) and ``image_bytes``, if the images were read from files of that form (see
              ``stored.as_read``), whose bytes these are; else they are float32 numbers as they were made;
            - ``labelling`` (the teacher's settings) and ``label_bytes``, if the labels are a file beside the set
              (``online``: the teachers; ``fkd``: their stored logits).
    """

    images: Tensor
    labels: Tensor | None
    targets: Tensor | None
    space: Space
    info: dict

    def save(self, path: str | Path) -> None:
        """Writes the set as one file."""
        tensors.save(path, *self.packed())

    def packed(self) -> tuple[dict[str, Tensor], dict]:
        """The tensors by name and the record, as a file holds them."""
        content = {"images": self.images, "labels": self.labels, "targets": self.targets, **self.space.packed()}
        content = {name: value for name, value in content.items() if value is not None}
        return content, {**self.info, "space": self.space.kind}

    @classmethod
    def unpacked(cls, content: Mapping[str, Tensor], info: dict, path: str | Path) -> Self:
        """Restores a set from what ``packed`` returns, which a file at ``path`` holds.

        Raises:
            BadInput: the set is not what is described above.
        """
        valid.check_names(content, ["images"], path)
        space = Space.read(str(info.get("space")), content)
        restored = cls(content["images"], content.get("labels"), content.get("targets"), space, info)
        valid.check_set(restored, path)
        return restored

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Self:
        """Loads a file that ``save`` wrote.

        Raises:
            BadInput: the file is missing or damaged, or as ``unpacked``.
        """
        return cls.unpacked(*tensors.load(Path(path), device), path)

    @property
    def kind(self) -> str:
        """The label kind: hard, soft, logits, regression, features, online or fkd."""
        return self.info["labels"]

    @property
    def pixels(self) -> str:
        """The form of the images: float, or the files that they were read from: png or jpeg."""
        return self.info.get("pixels", "float")

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes of ``images`` and of ``labels``.

        Images take 4 a number, or what their files have; a hard label takes one byte, above 256 classes two.
        """
        return {"images": self.info.get("image_bytes", self.images.numel() * 4), "labels": self._label_bytes()}

    def _label_bytes(self) -> int:
        if "label_bytes" in self.info:  # a file beside the set, whose images may have no class
            return self.info["label_bytes"]
        if self.targets is not None:
            return self.targets.numel() * 4
        count = len(self.labels)  # pyright: ignore[reportArgumentType]  # a set without targets has labels
        return count * (1 if len(self.info["classes"]) <= 256 else 2)
