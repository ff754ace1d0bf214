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
        labels: (M,) int64, the class of each image, from 0 on; None for images without a class.
        targets: what students learn if it is not the class: (M, K) float32, K classes, if ``info['labels']`` is
            ``soft`` (probabilities), ``logits`` or ``regression`` (learnt regression targets); (M, F) if it is
            ``features``; else None.
        space: the map between raw pixels in [0, 1] and ``images``.
        info: the record.

            - always ``labels`` (the label kind), ``feed`` (always ``stored``), ``method`` (its name), ``seed``, ``ipc``
              (images per class), ``classes`` (their names, in label order) and ``dataset`` (its name);
            - ``origin`` and ``file``, if the images come from another program;
            - ``chosen``, of a coreset: the indices of its images in the training split, from 0 on;
            - ``lr``, if the method learnt a learning rate for students;
            - ``teacher`` (pool, networks, accuracies), once a teacher has labelled the set;
            - ``pixels`` (``png`` or ``jpeg``) and ``image_bytes``, if the images were read from files of that form (see
              ``stored.as_read``), whose bytes these are; else they are the method's float32 numbers;
            - ``labelling`` (the teacher's settings) and ``label_bytes``, if the labels are a file beside the set
              (``online``: the teachers; ``fkd``: their stored logits).
    """

    images: Tensor
    labels: Tensor | None
    targets: Tensor | None
    space: Space
    info: dict

    def save(self, path: str | Path) -> None:
        """Writes the set as one safetensors file at ``path``, atomically; ``load`` reads it."""
        tensors.save(path, *self.packed())

    def packed(self) -> tuple[dict[str, Tensor], dict]:
        """Returns the tensors by name and the record, as a file holds them; tensors that are None are left out."""
        content = {"images": self.images, "labels": self.labels, "targets": self.targets, **self.space.packed()}
        content = {name: value for name, value in content.items() if value is not None}
        return content, {**self.info, "space": self.space.kind}

    @classmethod
    def unpacked(cls, content: Mapping[str, Tensor], info: dict, path: str | Path) -> Self:
        """Restores a set from what ``packed`` returned.

        Args:
            content: the tensors by name.
            info: the record.
            path: the file that held them, for messages; it is not read.

        Raises:
            BadInput: the set is not what is described above: see ``valid.check_set``.
        """
        valid.check_names(content, ["images"], path)
        space = Space.read(str(info.get("space")), content)
        restored = cls(content["images"], content.get("labels"), content.get("targets"), space, info)
        valid.check_set(restored, path)
        return restored

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Self:
        """Loads and checks a file that ``save`` wrote.

        Args:
            path: the file.
            device: where its tensors are loaded to.

        Raises:
            BadInput: the file is missing or damaged, or the set is not what is described above.
        """
        return cls.unpacked(*tensors.load(Path(path), device), path)

    @property
    def kind(self) -> str:
        """The label kind: hard, soft, logits, regression, features, online or fkd."""
        return self.info["labels"]

    @property
    def pixels(self) -> str:
        """The form in which the images are stored for students: ``float``, or files of 8 bits, ``png`` or ``jpeg``."""
        return self.info.get("pixels", "float")

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes that the ``images`` and the ``labels`` take when stored, by which sets are compared in the report.

        An image takes 4 bytes a number or, of the form png or jpeg, the bytes of its file. A label takes 4 bytes a
        target, or the bytes of the file beside the set; a hard label takes one byte, above 256 classes two.
        """
        return {"images": self.info.get("image_bytes", self.images.numel() * 4), "labels": self._label_bytes()}

    def _label_bytes(self) -> int:
        if "label_bytes" in self.info:  # a file beside the set, whose images may have no class
            return self.info["label_bytes"]
        if self.targets is not None:
            return self.targets.numel() * 4
        count = len(self.labels)  # pyright: ignore[reportArgumentType]  # a set without targets has labels
        return count * (1 if len(self.info["classes"]) <= 256 else 2)
