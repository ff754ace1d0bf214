"""Datasets published as encoded images in folders: each reader returns (train, test, class names)."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from distillation.data.real import Split
from distillation.datasets import archives, pictures
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "test", "val")
LAYOUT = "train/CLASS/* and test/CLASS/* (or val/CLASS/*)"


class Place(NamedTuple):
    """The position of an image in an imagefolder; positions sort in the order of the dataset.

    Attributes:
        split: ``train``, ``test`` or ``val``.
        label: name of its class.
        file: name of its file.
        top: name of the folder above the split; empty if there is none.
    """

    split: str
    label: str
    file: str
    top: str = ""


def imagefolder(path: Path, size: int | None, colour: str) -> tuple[Split, Split, list[str]]:
    """Reads a directory or archive with train/CLASS/* and test/CLASS/* (or val/CLASS/*), possibly below one top folder.

    Classes and, in each class, images are sorted by name, whatever the order of the archive. Hidden files and files
    elsewhere are left out.

    Args:
        path: directory, archive or listing.
        size: as in ``pictures.decode``.
        colour: as in ``pictures.decode``.

    Raises:
        BadInput: the layout differs, train and test differ in classes, or as ``archives.members`` and
            ``pictures.decode``.
    """
    arrays = pictures.decode(archives.members(path, belongs), size, colour)
    return splits(path, arrays, places(path, arrays))


def belongs(name: str) -> bool:
    """Whether a file is an image of an imagefolder.

    Raises:
        BadInput: the file lies deeper than in a class, or beside the classes.
    """
    return _place(name) is not None


def trains(name: str) -> bool:
    """Whether an image, for which ``belongs`` is true, is one of the training split."""
    return _place_of_image(name).split == "train"


def places(path: Path, names: Iterable[str]) -> dict[str, Place]:
    """The Place of each image by its name; ``belongs`` is true for all ``names``.

    Raises:
        BadInput: the images belong to more than one imagefolder.
    """
    places_by_name = {name: _place_of_image(name) for name in names}
    if len(tops := {place.top or "." for place in places_by_name.values()}) > 1:
        raise BadInput(f"{path} holds more than one dataset ({', '.join(sorted(tops))}): give one of them.")
    if {"test", "val"} <= {place.split for place in places_by_name.values()}:
        raise BadInput(f"{path} has both test/ and val/: keep the one that is to be tested on.")
    return places_by_name


def tinyimagenet(path: Path, size: int | None, colour: str) -> tuple[Split, Split, list[str]]:
    """Reads Tiny-ImageNet's zip: train/WNID/images/*, and the flat val/images/* with their classes in val_annotations.txt.

    The validation images are the test split, since the official test images have no labels. Grey images become RGB.
    """
    labels = {}

    def images() -> Iterator[tuple[str, bytes]]:
        for name, content in archives.members(path, _in_tiny):
            if name.endswith("val_annotations.txt"):
                for line in content.decode().splitlines():
                    file, label = line.split("\t")[:2]
                    labels[file] = label
            else:
                yield name, content

    arrays = pictures.decode(images(), size, "rgb" if colour == "auto" else colour)
    return splits(path, arrays, {name: _tiny_place(name, labels) for name in arrays})


def _tiny_place(name: str, labels: Mapping[str, str]) -> Place:
    """The Place of an image; ``labels`` are the classes of the validation images by their file."""
    folder, _, file = name.rpartition("/")
    if "/val/" in name:
        return Place("val", labels.get(file, ""), file)
    return Place("train", folder.split("/")[-2], file)


def _in_tiny(name: str) -> bool:
    return name.endswith("/val/val_annotations.txt") or ("/images/" in name and "/test/" not in name)


def _place_of_image(name: str) -> Place:
    place = _place(name)
    assert place is not None, f"{name} belongs to no imagefolder"
    return place


def _place(name: str) -> Place | None:
    """The Place of an image; None for a file outside the dataset."""
    parts = PurePosixPath(name).parts
    if any(part.startswith((".", "__MACOSX")) for part in parts):
        return None
    top, parts = ("", parts) if parts[0] in SPLITS else (parts[0], parts[1:])
    if len(parts) < 2 or parts[0] not in SPLITS:
        return None
    if len(parts) != 3:
        raise BadInput(f"{name} is not where an image should be: the layout is {LAYOUT}.")
    return Place(*parts, top)


def ordered(path: Path, places: Mapping[str, Place]) -> tuple[dict[str, list[str]], dict[str, Tensor], list[str]]:
    """Sorts the images of a dataset.

    Args:
        path: the dataset, for messages.
        places: the Place of each image by its name.

    Returns:
        The sorted names by split (``train``, ``test``), the labels (N,) int64 by split, and the class names.

    Raises:
        BadInput: a split has no images, or the splits differ in classes.
    """
    names = {"train": [], "test": []}
    for name in sorted(places, key=places.__getitem__):
        names["train" if places[name].split == "train" else "test"].append(name)
    labels = {split: [places[name].label for name in names[split]] for split in names}
    classes = sorted(set(labels["train"]))
    _check_classes(path, classes, set(labels["test"]))
    number = {label: i for i, label in enumerate(classes)}
    return names, {split: torch.tensor([number[label] for label in labels[split]]) for split in names}, classes


def splits(path: Path, arrays: "dict[str, np.ndarray]", places: Mapping[str, Place]) -> tuple[Split, Split, list[str]]:
    """Stacks the images of each split in the order of their places; RGB if any image is.

    Args:
        path: the dataset, for messages.
        arrays: uint8 arrays (H, W) or (H, W, 3) by name; emptied to save memory.
        places: the Place of each image by its name.

    Returns:
        (train, test, class names).

    Raises:
        BadInput: a split has no images, or the splits differ in classes.
    """
    channels = 3 if any(pixels.ndim == 3 for pixels in arrays.values()) else 1
    names, labels, classes = ordered(path, places)
    train, test = (
        Split(pictures.stack([arrays.pop(name) for name in names[split]], channels), labels[split]) for split in names
    )
    return train, test, classes


def _check_classes(path: Path, train: list[str], test: set[str]) -> None:
    if not train or not test:
        raise BadInput(f"{path} has no images in {'test' if train else 'train'}/: the layout should be {LAYOUT}.")
    if odd := sorted(test ^ set(train)):
        folder = "train/" if odd[0] in train else "test/"
        raise BadInput(f"{path} has class '{odd[0]}' in {folder} only: train/ and test/ should have the same classes.")


READERS = {"imagefolder": imagefolder, "imagenette": imagefolder, "tinyimagenet": tinyimagenet}
