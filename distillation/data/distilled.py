"""A distilled set as one file that says what its numbers are."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from distillation.data.spaces import Space
from distillation.runtime import tensors

FILE = "distilled.safetensors"


@dataclass(frozen=True)
class DistilledSet:
    """Synthetic images with their labels.

    Attributes:
        images: (M, C, H, W) float32, in ``space``; a student is given exactly these numbers (``info['feed']`` is
            ``stored``), nobody clamps or rescales them.
        labels: (M,) int64, the class each image was made for; None where it was made for none.
        targets: (M, K) float32 where ``info['labels']`` is ``soft`` (probabilities), ``logits``, ``regression`` (vectors that a
            method learnt as a regression's targets) or ``features``; else None.
        space: the way back to raw pixels.
        info: ``labels`` (the label kind), ``feed``, ``method``, ``ipc``, ``classes``, ``dataset``, and, once a
            teacher has labelled the set, ``teacher`` (pool, networks, accuracies). Where the labels are a file beside
            the set (``online``: the teachers; ``fkd``: their stored answers) also ``labelling``, the settings by which
            they answer, and ``label_bytes``. Where the method learnt with the images at which learning rate students should
            learn them, also ``lr``.
    """

    images: Tensor
    labels: Tensor | None
    targets: Tensor | None
    space: Space
    info: dict

    def save(self, path):
        tensors.save(path, *self.packed())

    def packed(self):
        """Tensors by name and the record of them, as a file holds them."""
        content = {"images": self.images, "labels": self.labels, "targets": self.targets, **self.space.packed()}
        content = {name: value for name, value in content.items() if value is not None}
        return content, {**self.info, "space": self.space.kind}

    @classmethod
    def unpacked(cls, content, info):
        """The set that ``packed`` took apart."""
        space = Space.read(info["space"], content)
        return cls(content["images"], content.get("labels"), content.get("targets"), space, info)

    @classmethod
    def load(cls, path, device="cpu"):
        """Read what ``save`` wrote. Raises BadInput where it is missing or broken."""
        return cls.unpacked(*tensors.load(Path(path), device))

    @property
    def kind(self):
        """The label kind: hard, soft, logits, regression, features, online or fkd."""
        return self.info["labels"]

    @property
    def bytes(self):
        """Bytes of the images (4 a number) and of the labels (one byte, or two above 256 classes, a hard label)."""
        return {"images": self.images.numel() * 4, "labels": self._label_bytes()}

    def _label_bytes(self):
        if "label_bytes" in self.info:  # a file beside the set, whose images may have no classes
            return self.info["label_bytes"]
        if self.targets is not None:
            return self.targets.numel() * 4
        return len(self.labels) * (1 if len(self.info["classes"]) <= 256 else 2)
