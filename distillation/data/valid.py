"""What the containers DistilledSet, RealSet and Space have to be: types, shapes, ranges and records.

Each is checked whole when it is read, whoever wrote it, so that other code can rely on it. In every function here,
``path`` or ``place`` is the file or its part, for the message of the BadInput that is raised.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from distillation.params import validate
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from distillation.data.distilled import DistilledSet
    from distillation.data.real import RealSet, Split
    from distillation.data.spaces import Space

# What a set's labels are: class numbers; probabilities; logits; learnt regression targets; features of a
# self-supervised teacher; or a file beside the set, with the teachers themselves (online) or their logits for augmented
# batches (fkd).
Kind = Literal["hard", "soft", "logits", "regression", "features", "online", "fkd"]
SUM = 1e-3  # house: by how much the probabilities of an image may miss the sum 1; those of half precision miss 5e-4
BYTE = 0.5 / 255  # half a step of 8 bits, by which what was resized or rounded leaves [0, 1]
# house: by how much optimised pixels may leave [0, 1]: many times the whole range. Numbers of 0 to 255 that are taken for
# normalised ones reach 255 times the std, above 50.
REACH = 16.0
# The default of an entry that a record may lack. Readers test for the entry, so that one of null is refused: pydantic checks
# what is given, and no default.
ABSENT: Any = None


class Record(BaseModel):
    """The record of a container: strict types, finite numbers; it may have further entries."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Labelling(Record):
    """The settings of the teachers whose labels are a file beside a set.

    Attributes:
        pick: whether the predictions are the mean over all teachers, or those of the first one.
        mode: whether the teachers' batch norms use running statistics (eval) or those of the batch (train).
        temperature: what logits are divided by before softmax.
    """

    pick: Literal["mean", "one"]
    mode: Literal["eval", "train"]
    temperature: float = Field(gt=0)


class Teacher(Record):
    """The teachers that labelled a set.

    Attributes:
        pool: the name of their pool.
        networks: their network names.
        accuracy: their mean accuracy on the real test set, in percent; None if no teacher has one.
        agreement: percent of the set's images to which they give the class that these were made for.
    """

    pool: str
    networks: list[str]
    accuracy: float | None
    agreement: float | None


class SetRecord(Record):
    """The record of a DistilledSet, whose docstring describes the entries."""

    labels: Kind
    feed: Literal["stored"]
    method: str
    seed: int
    ipc: int = Field(ge=1)
    classes: list[str] = Field(min_length=1)
    dataset: str
    origin: str = ABSENT
    file: str = ABSENT
    chosen: list[int] = ABSENT
    lr: float = Field(default=ABSENT, gt=0)
    teacher: Teacher | str | None = None
    labelling: Labelling = ABSENT
    label_bytes: int = Field(default=ABSENT, ge=0)
    pixels: Literal["png", "jpeg"] = ABSENT
    image_bytes: int = Field(default=ABSENT, ge=0)


class SourceFile(Record):
    """A file that a RealSet was read from: its name, and its SHA-256 in hexadecimal digits."""

    name: str
    sha256: str


class RealRecord(Record):
    """The record of a RealSet, whose docstring describes the entries."""

    name: str
    classes: list[str] = Field(min_length=1)
    channels: Literal[1, 3]
    size: int = Field(ge=1)
    flip: bool
    stats: str = ABSENT
    files: list[SourceFile] = []
    skipped: dict[str, str] = {}
    index: str | None = None
    colour: Literal["auto", "grey", "rgb"] | None = None


def check_record(schema: type[Record], record: object, path: "str | Path") -> None:
    """Raises BadInput with one sentence about the first entry of a record that its schema refuses."""
    validate(schema, record, f"{path}: record")


def check_names(content: Collection[str], names: Sequence[str], path: "str | Path") -> None:
    """Raises BadInput if a file lacks one of the tensors ``names``."""
    if lacking := [repr(name) for name in names if name not in content]:
        raise BadInput(f"{path} lacks {' and '.join(lacking)}.")


def check_set(distilled: "DistilledSet", path: "str | Path") -> None:
    """Raises BadInput unless a DistilledSet is what its docstring says.

    Args:
        distilled: the set.
        path: its file, for the message.
    """
    info = distilled.info
    check_record(SetRecord, info, path)
    images, labels, targets, kind = distilled.images, distilled.labels, distilled.targets, distilled.kind
    check_images(images, torch.float32, path)
    check_space(distilled.space, images.shape[1:], path)
    count = len(images)
    if labels is not None:
        check_labels(labels, count, len(info["classes"]), path)
    beside = kind in ("online", "fkd")  # labels in a file beside the set, which is not checked here
    if (targets is None) != (beside or kind == "hard"):
        raise BadInput(f"{path} has labels of kind {kind} {'with' if targets is not None else 'without'} targets.")
    if kind == "hard" and labels is None:
        raise BadInput(f"{path} has labels of kind hard, but holds no labels.")
    if beside and not (info.get("labelling") and "label_bytes" in info):
        raise BadInput(f"{path} has labels of kind {kind}, but its record lacks labelling or label_bytes.")
    if targets is not None:
        check_targets(targets, kind, count, len(info["classes"]), path)


def check_real(data: "RealSet", path: "str | Path") -> None:
    """Raises BadInput unless the splits and the space of a RealSet are what its docstring says.

    Args:
        data: the set, whose record was checked before it could be read.
        path: its file, for the message.
    """
    channels, pixels, classes = data.shape
    for name, split in (("train", data.train), ("test", data.test)):
        _check_split(split, f"{path}: {name}", (channels, pixels, pixels))
        check_labels(split.labels, len(split.images), classes, f"{path}: {name}")
    check_space(data.space, torch.Size((channels, pixels, pixels)), path)


def _check_split(split: "Split", place: str, shape: tuple[int, int, int]) -> None:
    """Raises BadInput unless the images of a split, in memory or in files, have a shape and are of 8 bits."""
    images = split.images
    if isinstance(images, Tensor):
        check_images(images, torch.uint8, place)
    else:
        digests = images.digests
        if digests.dtype != torch.uint8 or digests.shape != (len(images), 32):
            raise BadInput(f"{place} has {len(images)} paths, but digests {_form(digests)}: (N, 32) uint8 are right.")
        if leaving := [name for name in images.paths if not _stays(name)]:
            raise BadInput(f"{place} has the path {leaving[0]!r:.80}, which leads out of the folder of the images.")
    if tuple(images.shape[1:]) != shape:
        raise BadInput(f"{place} has images {tuple(images.shape)}, but (N, {', '.join(map(str, shape))}) are right.")


def _stays(name: str) -> bool:
    """Whether a relative path names a file below its folder."""
    parts = PurePosixPath(name).parts
    return bool(parts) and ".." not in parts and not name.startswith("/")


def check_images(images: Tensor, dtype: torch.dtype, place: "str | Path") -> None:
    """Raises BadInput unless images are (N, C, S, S) of a dtype, N and S at least 1, C 1 or 3, and finite."""
    shape = tuple(images.shape)
    if len(shape) != 4 or min(shape) < 1 or shape[1] not in (1, 3) or shape[2] != shape[3] or images.dtype != dtype:
        right = f"(N, C, S, S) {_name(dtype)}, of 1 or 3 channels,"
        raise BadInput(f"{place} has images {_form(images)}, but {right} are right.")
    check_finite(images, "images", place)


def check_labels(labels: Tensor, count: int, classes: int, place: "str | Path") -> None:
    """Raises BadInput unless labels are (count,) int64, from 0 to classes - 1."""
    if labels.shape != (count,) or labels.dtype != torch.int64:
        raise BadInput(f"{place} has {count} images, but labels {_form(labels)}: ({count},) int64 are right.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise BadInput(
            f"{place} has labels from {low} to {high}, but those of {classes} classes are 0 to {classes - 1}."
        )


def check_targets(targets: Tensor, kind: str, count: int, classes: int, place: "str | Path") -> None:
    """Raises BadInput unless targets are float32, finite and of the right shape for their kind.

    Args:
        targets: (count, classes); of the kind features (count, F), F at least 1. Soft ones have to be probabilities: at
            least 0, each row of sum 1.
        kind: a Kind that has targets.
        count: number of images.
        classes: number of classes.
        place: their file, for the message.
    """
    width = targets.shape[1] if kind == "features" and targets.ndim == 2 else classes
    if targets.shape != (count, width) or width < 1 or targets.dtype != torch.float32:
        right = f"({count}, {'F' if kind == 'features' else classes}) float32"
        raise BadInput(f"{place} has labels of kind {kind} with targets {_form(targets)}, but {right} are right.")
    check_finite(targets, "targets", place)
    if kind != "soft":
        return
    sums = targets.sum(1)
    if float(targets.min()) < 0 or not torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=SUM):
        raise BadInput(
            f"{place} has labels that are no probabilities: the targets are {_range(targets)}, their sums {_range(sums)}."
        )


def check_finite(values: Tensor, name: str, place: "str | Path") -> None:
    """Raises BadInput if a number is not finite; ``name`` is that of the numbers in the message, like ``targets``."""
    if values.is_floating_point() and not bool(values.isfinite().all()):
        raise BadInput(f"{place} has {name} with numbers that are not finite.")


def check_space(space: "Space", shape: Sequence[int], place: "str | Path") -> None:
    """Raises BadInput unless a Space is a map of images of a shape (C, H, W): its tensors have the sizes for it."""
    channels, count = shape[0], shape[0] * shape[1] * shape[2]
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]] = {
        "raw": {},
        "normalised": {"mean": (channels,), "std": (channels,)},
        "whitened": {"mean": (count,), "matrix": (count, count), "inverse": (count, count)},
    }
    if space.kind not in shapes:
        raise BadInput(f"{place}: record.space is {space.kind!r:.80}, but should be {', '.join(shapes)}.")
    right = shapes[space.kind]
    found: dict[str, Any] = {name: tuple(tensor.shape) for name, tensor in space.tensors.items()}
    if found != right or any(tensor.dtype != torch.float32 for tensor in space.tensors.values()):
        raise BadInput(f"{place} is {space.kind}, for which it should have {right} float32, but it has {found}.")
    for name, tensor in space.tensors.items():
        check_finite(tensor, f"a {name}", place)
    if space.kind == "normalised" and float(space.tensors["std"].min()) <= 0:
        raise BadInput(f"{place} has the std {space.tensors['std'].tolist()}, but it should be above 0.")


def check_pixels(raw: Tensor, reach: float, place: "str | Path", cure: str) -> None:
    """Raises BadInput if raw pixels lie outside [0, 1] by more than ``reach``.

    It detects an imported set whose numbers are in another space than it states, such as pixels from 0 to 255.

    Args:
        raw: the pixels, decoded from their space.
        reach: BYTE for pixels that were stored as 8 bits, REACH for optimised ones.
        place: their file, for the message.
        cure: an advice to the user.
    """
    if float(raw.min()) < -reach or float(raw.max()) > 1 + reach:
        raise BadInput(f"{place} has pixels {_range(raw)}, but those of raw images are 0 to 1: {cure}.")


def _range(values: Tensor) -> str:
    return f"from {float(values.min()):g} to {float(values.max()):g}"


def _form(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {_name(tensor.dtype)}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
