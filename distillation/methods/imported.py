"""A distilled set made elsewhere, or by this pipeline, that is read from a file or folder; nothing in it can run code.

Files that carry a record of their own (space, classes, kind of labels) are imported bit for bit: a
``distilled.safetensors`` of this pipeline, and the npz that ``python -m distillation export`` writes. For all others
the settings ``space`` and ``labels`` state what their numbers mean:

- safetensors or npz with ``images`` (N, C, H, W) and ``labels``
- a folder CLASS/*.png (or .jpg), which ``python -m distillation export`` writes too; or new000/*, new001/* ..., the
  classes by number, as SRe2L, SC-DD and CDA save theirs
- the result files of DC, DSA, DM and CLoM (.pt: a list under ``data`` of one pair of images and labels a run, of which the
  first is taken, as CLoM's validation does): ``normalised``
- the folder of MTT and what builds on it (images_best.pt, labels_best.pt, and lr_best.pt if the learning rate of students
  was learnt): ``normalised``, which is whitened if the dataset is
- the folder of KRR-ST (x_syn.pt, y_syn.pt): ``fed``, ``features``; the sets that it compares with have other labels
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

import torch
from pydantic import Field
from torch import Tensor

from distillation.data import npz, valid
from distillation.data.distilled import DistilledSet
from distillation.data.faults import Findings
from distillation.data.pickled import unpickled
from distillation.data.spaces import Space
from distillation.datasets.archives import members
from distillation.datasets.folders import LARGEST, is_clutter
from distillation.datasets.pictures import decode, stack
from distillation.methods.base import Problem, SelectionMethod
from distillation.params import Section
from distillation.runtime.errors import BadInput
from distillation.runtime.files import regular
from distillation.runtime.tensors import opened_foreign

if TYPE_CHECKING:
    import numpy as np

PAIRS = {"x_syn.pt": "y_syn.pt", "images_best.pt": "labels_best.pt"}  # images: labels, of KRR-ST, and of MTT
RATE = "lr_best.pt"  # beside images_best.pt, if the learning rate of students was learnt
CURE = "export images and labels as .safetensors"  # what messages suggest for a pickle that is not plain tensors
RECORD = {"labels", "classes", "dataset", "method", "space"}  # entries of the record of every set of this pipeline


class Settings(Section):
    """The settings of an import: the file and, unless it carries a record, the meaning of its numbers.

    Attributes:
        file: path of the file or folder.
        space: ``raw``: uint8, or floats in [0, 1], converted to the dataset's space for students; ``normalised``: in
            the dataset's space already; ``fed``: raw, and students are given raw images although the dataset is
            normalised.
        labels: the kind: ``hard``, class numbers (N,); ``soft`` (probabilities), ``logits`` or ``regression`` (learnt
            regression targets, as those of FRePo and KIP), (N, classes); or ``features`` (N, D). A record must agree.
    """

    file: str = Field(min_length=1)
    space: Literal["raw", "normalised", "fed"]
    labels: Literal["hard", "soft", "logits", "regression", "features"]


class Imported(SelectionMethod[Settings]):
    """The method of a set that is read from a file or folder, see the module."""

    learns_lr = True  # the file may hold a learning rate; if it does not, evaluation refuses ``set_lr``

    @classmethod
    def files(cls, settings: Settings) -> tuple[Path, ...]:
        """Returns the file or folder, or nothing if it does not exist: then ``result`` raises."""
        return (Path(settings.file),) if Path(settings.file).exists() else ()

    @classmethod
    def labels_of(cls, settings: Settings) -> str:
        """Returns the kind of labels that the settings state."""
        return settings.labels

    def result(self) -> DistilledSet:
        """Reads and checks the set.

        If a file without a record has a learning rate for students, a note with it is printed to stderr.

        Returns:
            The set on the problem's device; its record has the file's name as ``file``.

        Raises:
            BadInput: the file is missing or broken, holds numbers that cannot be those of its space, or contradicts the
                settings or the dataset.
        """
        path = Path(self.settings.file)
        if not path.exists() or path == Path("data/none"):
            raise BadInput(f"method.imported.file is {path}: give the path of a distilled set, see params.yaml.")
        content, info = _read(path, self.problem.data.classes, self.problem.data.shape[0])
        shape = self.problem.data.train.images.shape[1:]
        if (images := content["images"]).shape[1:] != shape or not len(images):
            raise BadInput(
                f"{path} has images {tuple(images.shape)}, but (N, {', '.join(map(str, shape))}) are wanted."
            )
        own = info is not None
        distilled = self._own(path, DistilledSet.unpacked(content, info, path)) if own else self._foreign(path, content)
        _check(path, distilled, self.problem)
        return replace(distilled, images=distilled.images.to(self.problem.device))

    def _own(self, path: Path, distilled: DistilledSet) -> DistilledSet:
        """Checks a set with a record against the settings and the dataset, and returns it, marked as imported.

        Its former method becomes the entry ``origin`` of the record.

        Raises:
            BadInput: its kind of labels, its classes or its space contradict them.
        """
        if distilled.kind != self.settings.labels:
            raise BadInput(
                f"{path} has labels of kind {distilled.kind}, but method.imported.labels is {self.settings.labels}: hard, "
                "soft, logits, regression and features can be imported."
            )
        if distilled.info["classes"] != self.problem.data.classes:
            raise BadInput(
                f"{path} is of other classes than the dataset's: it was distilled from {distilled.info['dataset']}."
            )
        if distilled.space.kind != "raw" and not distilled.space.same(self.problem.data.space):
            raise BadInput(
                f"{path} is {distilled.space.kind} otherwise than the dataset: give the dataset the stats and zca that "
                f"{distilled.info['dataset']} had, or import the images as a folder."
            )
        return replace(distilled, info={**distilled.info, **self._about(path), "origin": distilled.info["method"]})

    def _foreign(self, path: Path, content: Mapping[str, Tensor]) -> DistilledSet:
        """Returns the set of a file without a record, by the meaning that the settings give to its numbers.

        Args:
            path: of the file, for messages.
            content: ``images`` (N, C, H, W), ``labels`` and perhaps ``lr``.

        Raises:
            BadInput: numbers are not finite, or cannot be those of the stated space or kind of labels.
        """
        kind, space = self.settings.labels, self.problem.data.space
        images, labels = content["images"], content["labels"]
        _check_labels(path, images, labels, kind, self.problem.classes)
        info = {"labels": kind, "feed": "stored", "classes": self.problem.data.classes, **self._about(path)}
        info["dataset"] = self.problem.data.info["name"]
        if "lr" in content:
            info["lr"] = _rate(path, content["lr"])
            print(f"note: {path} was made for students that learn at the rate {info['lr']:g}.", file=sys.stderr)
        # uint8 can only be bytes of pixels; whether floats fit the stated space is checked below and by ``_check``
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        if self.settings.space == "raw":
            valid.check_finite(images, "images", path)
            valid.check_pixels(images, valid.BYTE, path, "divide those of 0 to 255 by 255, or store them as uint8")
            images = space.to(images.device).encode(images)
        elif self.settings.space == "fed":
            space = Space.raw()
        if kind == "features":
            distilled = DistilledSet(images, None, labels.float(), space, info)
        elif kind != "hard":
            # of label vectors, the largest number is the class
            distilled = DistilledSet(images, labels.argmax(1), labels.float(), space, info)
        else:
            order = labels.argsort(stable=True)  # by class, as this pipeline stores its sets
            distilled = DistilledSet(images[order], labels[order].long(), None, space, info)
        valid.check_set(distilled, path)
        return distilled

    def _about(self, path: Path) -> dict[str, Any]:
        """Returns the entries of the record that every imported set has."""
        common = self.problem.settings
        return {"method": common.name, "ipc": common.ipc, "seed": common.seed, "file": path.name}


def _read(path: Path, classes: Sequence[str], channels: int) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Reads a file or folder of any of the module's formats.

    Args:
        path: of the file or folder.
        classes: names of the dataset's classes, in label order, to which folders of images are matched.
        channels: of the dataset's images, 1 or 3, to which such images are converted.

    Returns:
        The tensors by name, and the record, None if the file has none. Without a record the names are ``images``,
        ``labels`` and perhaps ``lr``; with one they are those of ``DistilledSet``.

    Raises:
        BadInput: the format is unknown, the file is broken or lacks images or labels, or its record is not of this
            pipeline.
    """
    if path.is_dir():
        pair = next(((x, y) for x, y in PAIRS.items() if (path / x).is_file()), None)
        return (_pair(path, *pair) if pair else _pictures(path, classes, channels)), None
    info = None
    if path.suffix == ".safetensors":
        with opened_foreign(path) as file:
            content, info = file.content(), file.info
    elif path.suffix == ".npz":
        content, info = npz.load(path)
    elif path.suffix == ".pt":
        content = _first_run(unpickled(path, CURE), path)
    else:
        raise BadInput(f"{path} is neither .safetensors nor .npz nor .pt nor a folder.")
    if info is not None and not (isinstance(info, dict) and info.keys() >= RECORD):
        raise BadInput(f"{path} carries a record that this pipeline did not write: export its images and labels alone.")
    if lacking := {"images", *(() if info else ("labels",))} - content.keys():
        raise BadInput(f"{path} must hold 'images' and 'labels', but lacks {' and '.join(sorted(lacking))}.")
    return content, info


def _pair(folder: Path, x: str, y: str) -> dict[str, Tensor]:
    """Returns images and labels from a file each, and the learning rate beside them if there is one."""
    content = {"images": _tensor(folder / x), "labels": _tensor(folder / y)}
    if (folder / RATE).is_file():
        content["lr"] = _number(folder / RATE)
    return content


def _number(path: Path) -> Tensor:
    """Returns the content of a .pt file that holds a number or a tensor; raises BadInput for anything else."""
    content = unpickled(path, CURE)
    if not isinstance(content, torch.Tensor | int | float):
        raise BadInput(f"{path} should hold one number, not a {type(content).__name__}.")
    return content.detach() if isinstance(content, torch.Tensor) else torch.tensor(float(content))


def _rate(path: Path, value: Tensor) -> float:
    """Returns the learning rate of students; raises BadInput unless it is one number, finite and above 0."""
    if value.numel() != 1 or not math.isfinite(rate := float(value)) or rate <= 0:
        found = f"{float(value):g}" if value.numel() == 1 else f"of shape {tuple(value.shape)}"
        raise BadInput(f"{path} has a learning rate of students that is {found}, but should be one number above 0.")
    return rate


def _tensor(path: Path) -> Tensor:
    """Returns the content of a .pt file that holds one tensor; raises BadInput for anything else."""
    regular(path, "images and labels belong together")
    content = unpickled(path, CURE)
    if not isinstance(content, torch.Tensor):
        raise BadInput(f"{path} should hold one tensor, not a {type(content).__name__}.")
    return content.detach()


def _pictures(folder: Path, classes: Sequence[str], channels: int) -> dict[str, Tensor]:
    """Returns the images of a folder CLASS/*, uint8 (N, channels, H, W), with their class numbers as ``labels``.

    Raises:
        BadInput: files cannot be decoded, a class is not the dataset's, an image has colours that the dataset lacks, or
            there is no image.
    """
    findings = Findings()
    files = members(folder, lambda name: "/" in name and not is_clutter(name), findings, LARGEST)
    arrays = decode(files, findings=findings)
    findings.settle(folder, "mend or remove them")
    if not arrays:
        raise BadInput(f"{folder} has no images: they should lie in folders, one a class.")
    labels = [_class_of(Path(name).parent.name, classes, folder) for name in arrays]
    if channels == 1:
        arrays = {name: _grey(folder / name, pixels) for name, pixels in arrays.items()}
    return {"images": stack(list(arrays.values()), channels), "labels": torch.tensor(labels)}


def _grey(path: Path, pixels: "np.ndarray") -> "np.ndarray":
    """The one channel (H, W) of an image (H, W, 3) that many programs store as RGB although it is grey.

    Raises:
        BadInput: it has colours.
    """
    if pixels.ndim == 3 and (pixels != pixels[:, :, :1]).any():
        raise BadInput(
            f"{path} has colours, but the dataset is grey: set dataset.colour to rgb, or make the images grey."
        )
    return pixels if pixels.ndim == 2 else pixels[:, :, 0]


def _class_of(name: str, classes: Sequence[str], folder: Path) -> int:
    """Returns the class number of a folder: by the name of the class, plain or percent-encoded, or by ``new007`` for 7.

    Raises:
        BadInput: the dataset has no such class.
    """
    if (plain := unquote(name)) in classes:
        return classes.index(plain)
    if (match := re.fullmatch(r"new(\d+)", name)) and int(match[1]) < len(classes):
        return int(match[1])
    raise BadInput(f"{folder} has the class {name!r}, but the dataset's are {', '.join(classes)}.")


def _first_run(content: object, path: Path) -> dict[str, Tensor]:
    """Returns images and labels of the first run in a result file of DC's code."""
    runs = content.get("data") if isinstance(content, dict) else None
    pair = runs[0] if isinstance(runs, list) and runs else None
    if (
        not isinstance(pair, (list, tuple))
        or not all(isinstance(part, torch.Tensor) for part in pair)
        or len(pair) != 2
    ):
        raise BadInput(
            f"{path} is no result file of DC's code: it should hold under 'data' pairs of images and labels."
        )
    return {"images": pair[0], "labels": pair[1]}


def _check_labels(path: Path, images: Tensor, labels: Tensor, kind: str, classes: int) -> None:
    """Raises BadInput unless labels (N,) or (N, K) have the shape and the values of their kind."""
    width = {"hard": (), "features": ("D",)}.get(kind, (classes,))
    fits = labels.ndim == 1 + len(width) and labels.shape[0] == len(images) and width in ((), ("D",), labels.shape[1:])
    if not fits:
        raise BadInput(
            f"{path} has images {tuple(images.shape)} with labels {tuple(labels.shape)}, but "
            f"({', '.join(map(str, (len(images), *width)))}) are wanted where method.imported.labels is {kind}."
        )
    valid.check_finite(labels, "labels", path)
    if kind == "hard" and not bool((labels == labels.long()).all()):
        raise BadInput(f"{path} has labels that are no class numbers, but method.imported.labels is hard.")
    if kind == "soft" and not (
        bool((labels >= 0).all()) and torch.allclose(labels.sum(1), labels.new_ones(len(labels)), atol=1e-3)
    ):
        raise BadInput(f"{path} has labels that are no probabilities: method.imported.labels should be logits.")


def _check(path: Path, distilled: DistilledSet, problem: Problem) -> None:
    """Raises BadInput unless the numbers can be those of their space, and there are ``ipc`` images of each class."""
    ipc = problem.settings.ipc
    # decoded, so that one range fits all spaces; it is wider than [0, 1], as most methods do not clamp their images
    raw = distilled.space.to(distilled.images.device).decode(distilled.images)
    valid.check_pixels(raw, valid.REACH, path, "they diverged, or are in another space than method.imported.space says")
    if distilled.kind != "hard":
        if len(distilled.images) != ipc * problem.classes:
            raise BadInput(
                f"{path} has {len(distilled.images)} images, but method.ipc = {ipc} of {problem.classes} classes are "
                f"{ipc * problem.classes}."
            )
        return
    labels = distilled.labels
    assert labels is not None
    counts = torch.bincount(labels, minlength=problem.classes)
    if (counts != ipc).any():
        raise BadInput(
            f"{path} must have method.ipc = {ipc} images of each of {problem.classes} classes; it has {counts.tolist()}."
        )


METHOD = Imported
