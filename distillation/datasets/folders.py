"""Datasets published as encoded images in folders, one folder for each class.

``imagefolder`` reads a dataset of one's own and Imagenette, ``tinyimagenet`` that dataset. Each reader returns (train,
test, class names). The functions without a size work on names alone: ``indexing`` uses them, too, for images that stay
in files.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from distillation.data.faults import Faulty, Findings, printable
from distillation.data.real import Split
from distillation.datasets import archives, pictures
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "test", "val")
LAYOUT = "train/CLASS/* and test/CLASS/* (or val/CLASS/*)"
LARGEST = 1 << 30  # house: bytes of an image's file: one of more pixels than PIL decodes could not fill it
CLUTTER = ("thumbs.db", "ehthumbs.db", "desktop.ini")  # what Windows leaves in folders of images, in any case


class Place(NamedTuple):
    """The position of an image in an imagefolder; positions sort in the order of the dataset.

    Attributes:
        split: ``train``, ``test`` or ``val``.
        label: name of its class, as of its folder.
        file: name of its file, without folders.
        top: name of the folder above the split; empty if there is none.
    """

    split: str
    label: str
    file: str
    top: str = ""


def imagefolder(path: Path, size: int | None, colour: str, findings: Findings) -> tuple[Split, Split, list[str]]:
    """Reads a directory or archive with train/CLASS/* and test/CLASS/* (or val/CLASS/*), possibly below one top folder.

    Classes and, in each class, images are sorted by name, whatever the order of the archive. Hidden files, what Windows
    leaves in folders, and files elsewhere are left out.

    Args:
        path: directory, archive or listing.
        size: pixels of a side to which images are cropped and resized; None: all images must be squares of one size.
        colour: ``grey``, ``rgb`` or ``auto``: grey if all images are grey, else RGB.
        findings: what receives faulty files, and decides whether they are skipped.

    Returns:
        (train, test, class names); images (N, C, S, S) uint8.

    Raises:
        BadInput: the layout differs, train and test differ in classes, a class has no image, files are faulty and not to
            be skipped, or as ``archives.members`` and ``pictures.decode``.
    """
    arrays = pictures.decode(images(path, findings), size, colour, findings=findings)
    findings.settle(path)
    return splits(path, arrays, places(path, arrays), expected(findings))


def images(path: Path, findings: Findings) -> Iterator[archives.Member]:
    """Yields the name and bytes of each image of an imagefolder; ``findings`` receive files that cannot be read."""
    return archives.members(path, belongs, findings, LARGEST)


def belongs(name: str) -> bool:
    """Whether a file is an image of an imagefolder, by its name: it lies in train/CLASS/, test/CLASS/ or val/CLASS/.

    Args:
        name: relative name with ``/``.

    Raises:
        Faulty: the file lies deeper than in a class, or beside the classes.
    """
    return _place(name) is not None


def is_clutter(name: str) -> bool:
    """Whether a file or one of its folders is hidden, or left by Windows or macOS."""
    parts = PurePosixPath(name).parts
    return any(part.startswith((".", "__MACOSX")) for part in parts) or parts[-1].lower() in CLUTTER


def expected(findings: Findings) -> dict[str, Place]:
    """Lists the classes that should have an image in each split, though perhaps none was read.

    They are the folders of classes, empty ones too, and the folders of skipped files. ``ordered`` refuses a dataset in
    which one of them has no image: else the class would be missing unnoticed.

    Returns:
        The Place of an image in each such folder, by the name of the file or, for a folder, ``FOLDER/*``.
    """
    found = {}
    for name in [*(f"{folder}/*" for folder in findings.folders), *findings.faults]:
        with contextlib.suppress(Faulty):  # elsewhere than in a class
            if place := _place(name):
                found[name] = place
    return found


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


def tinyimagenet(path: Path, size: int | None, colour: str, findings: Findings) -> tuple[Split, Split, list[str]]:
    """Reads Tiny-ImageNet's zip: train/WNID/images/*, and the flat val/images/* with their classes in val_annotations.txt.

    The validation images are the test split, since the official test images have no labels. Grey images become RGB.
    """
    labels = {}  # filled while the archive is read: the annotations may come after the images that they label

    def images() -> Iterator[archives.Member]:
        for name, content in archives.members(path, _in_tiny, findings, LARGEST):
            if name.endswith("val_annotations.txt"):
                for line in content.decode().splitlines():
                    file, label = line.split("\t")[:2]
                    labels[file] = label
            else:
                yield name, content

    arrays = pictures.decode(images(), size, "rgb" if colour == "auto" else colour, findings=findings)
    findings.settle(path)
    places = {name: _tiny_place(name, labels) for name in (*arrays, *findings.faults)}
    return splits(path, arrays, {name: places[name] for name in arrays}, places)


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
    """The Place of an image; None for a file outside the dataset.

    Raises:
        Faulty: as ``belongs``.
    """
    if is_clutter(name):
        return None
    parts = PurePosixPath(name).parts
    top, parts = ("", parts) if parts[0] in SPLITS else (parts[0], parts[1:])
    if len(parts) < 2 or parts[0] not in SPLITS:
        return None
    if len(parts) != 3:
        raise Faulty(f"is not where an image should be: the layout is {LAYOUT}")
    return Place(*parts, top)


def ordered(
    path: Path, places: Mapping[str, Place], expected: Mapping[str, Place]
) -> tuple[dict[str, list[str]], dict[str, Tensor], list[str]]:
    """Sorts the images of a dataset by class name and file name, and numbers the classes in that order.

    Args:
        path: the dataset, for messages.
        places: the Place of each image by its name.
        expected: further Places whose classes should have an image, by name (see the function ``expected``).

    Returns:
        The sorted names by split (``train``, and ``test``, which val counts as), the labels (N,) int64 by split, and
        the class names.

    Raises:
        BadInput: a split has no images, the splits differ in classes, or a class that is expected has none.
    """
    names = {"train": [], "test": []}
    for name in sorted(places, key=places.__getitem__):
        names["train" if places[name].split == "train" else "test"].append(name)
    labels = {split: [places[name].label for name in names[split]] for split in names}
    classes = sorted(set(labels["train"]))
    _check_filled(path, places, expected)
    _check_classes(path, classes, set(labels["test"]))
    number = {label: i for i, label in enumerate(classes)}
    return names, {split: torch.tensor([number[label] for label in labels[split]]) for split in names}, classes


def splits(
    path: Path, arrays: "dict[str, np.ndarray]", places: Mapping[str, Place], expected: Mapping[str, Place]
) -> tuple[Split, Split, list[str]]:
    """Stacks the images of each split in the order of their places; RGB if any image is.

    Args:
        path: the dataset, for messages.
        arrays: uint8 arrays (S, S) or (S, S, 3) by name; the dict is emptied, so that pixels are not in memory twice.
        places: the Place of each image by its name.
        expected: as in ``ordered``.

    Returns:
        (train, test, class names).

    Raises:
        BadInput: as ``ordered``.
    """
    channels = 3 if any(pixels.ndim == 3 for pixels in arrays.values()) else 1
    names, labels, classes = ordered(path, places, expected)
    train, test = (
        Split(pictures.stack([arrays.pop(name) for name in names[split]], channels), labels[split]) for split in names
    )
    return train, test, classes


def _check_filled(path: Path, places: Mapping[str, Place], expected: Mapping[str, Place]) -> None:
    """Raises BadInput if a class that ``expected`` names has no image in that split."""
    filled = {(place.split, place.label) for place in places.values()}
    empty = {printable(f"{place.split}/{place.label}/") for place in expected.values() if place[:2] not in filled}
    if empty:
        others = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise BadInput(
            f"{path} has no image in {min(empty)}{others}: every class needs one, so fill the folder or remove the class."
        )


def _check_classes(path: Path, train: list[str], test: set[str]) -> None:
    """Raises BadInput unless the splits have the same classes, at least one."""
    if not train or not test:
        raise BadInput(f"{path} has no images in {'test' if train else 'train'}/: the layout should be {LAYOUT}.")
    if odd := sorted(test ^ set(train)):
        folder = "train/" if odd[0] in train else "test/"
        raise BadInput(
            f"{path} has class '{printable(odd[0])}' in {folder} only: train/ and test/ should have the same classes."
        )


READERS = {"imagefolder": imagefolder, "imagenette": imagefolder, "tinyimagenet": tinyimagenet}
