"""Datasets published as encoded images in folders: each reader gives (train, test, class names)."""

from pathlib import PurePosixPath
from typing import NamedTuple

import torch

from distillation.data.real import Split
from distillation.datasets import archives, pictures
from distillation.runtime.errors import BadInput

SPLITS = ("train", "test", "val")
LAYOUT = "train/CLASS/* and test/CLASS/* (or val/CLASS/*)"


class Place(NamedTuple):
    """Where an image lies; sorts in the order of the dataset."""

    split: str
    label: str
    file: str
    top: str = ""


def imagefolder(path, size, colour):
    """Any directory or archive with train/CLASS/* and test/CLASS/* (or val/CLASS/*), possibly below one top folder.

    Classes and, in each class, images are sorted by name, whatever the order of the archive. Hidden files and what
    lies elsewhere are left out. ``size`` and ``colour`` are those of ``pictures.decode``.

    Raises:
        BadInput: the layout is another, train and test differ in classes, or what ``archives.members`` and
            ``pictures.decode`` refuse.
    """
    arrays = pictures.decode(archives.members(path, belongs), size, colour)
    return splits(path, arrays, places(path, arrays))


def belongs(name):
    """Whether a file is an image of an imagefolder. Raises BadInput where it lies too deep, or beside its class."""
    return _place(name) is not None


def trains(name):
    """Whether an image is one of the training split."""
    return _place(name).split == "train"


def places(path, names):
    """The place of each image by name. Raises BadInput where they are of more than one imagefolder."""
    found = {name: _place(name) for name in names}
    if len(tops := {place.top or "." for place in found.values()}) > 1:
        raise BadInput(f"{path} holds more than one dataset ({', '.join(sorted(tops))}): give one of them.")
    if {"test", "val"} <= {place.split for place in found.values()}:
        raise BadInput(f"{path} has both test/ and val/: keep the one that is to be tested on.")
    return found


def tinyimagenet(path, size, colour):
    """Tiny-ImageNet's zip: train/WNID/images/*, and the flat val/images/* that val_annotations.txt sorts into classes.

    The validation images are the test split, since the official test images carry no labels. Greys become RGB.
    """
    notes = {}

    def images():
        for name, content in archives.members(path, _in_tiny):
            if name.endswith("val_annotations.txt"):
                notes.update(line.split("\t")[:2] for line in content.decode().splitlines())
            else:
                yield name, content

    arrays = pictures.decode(images(), size, "rgb" if colour == "auto" else colour)
    return splits(path, arrays, {name: _tiny_place(name, notes) for name in arrays})


def _tiny_place(name, notes):
    folder, _, file = name.rpartition("/")
    if "/val/" in name:
        return Place("val", notes.get(file, ""), file)
    return Place("train", folder.split("/")[-2], file)


def _in_tiny(name):
    return name.endswith("/val/val_annotations.txt") or ("/images/" in name and "/test/" not in name)


def _place(name):
    """The Place of an image, or None of a file that is no part of the dataset."""
    parts = PurePosixPath(name).parts
    if any(part.startswith((".", "__MACOSX")) for part in parts):
        return None
    top, parts = ("", parts) if parts[0] in SPLITS else (parts[0], parts[1:])
    if len(parts) < 2 or parts[0] not in SPLITS:
        return None
    if len(parts) != 3:
        raise BadInput(f"{name} is not where an image should be: the layout is {LAYOUT}.")
    return Place(*parts, top)


def ordered(path, places):
    """The order of an imagefolder: by split (train, test) the sorted names and their labels (N,); and the class names.

    Raises:
        BadInput: a split has no images, or they differ in classes.
    """
    names = {"train": [], "test": []}
    for name in sorted(places, key=places.get):
        names["train" if places[name].split == "train" else "test"].append(name)
    labels = {split: [places[name].label for name in names[split]] for split in names}
    classes = sorted(set(labels["train"]))
    _check_classes(path, classes, set(labels["test"]))
    number = {label: i for i, label in enumerate(classes)}
    return names, {split: torch.tensor([number[label] for label in labels[split]]) for split in names}, classes


def splits(path, arrays, places):
    """(train, test, class names): the arrays of each split, stacked in the order of their places.

    ``arrays`` is emptied; channels are RGB as soon as one image is. Raises BadInput where the splits differ in classes.
    """
    channels = 3 if any(pixels.ndim == 3 for pixels in arrays.values()) else 1
    names, labels, classes = ordered(path, places)
    train, test = (
        Split(pictures.stack([arrays.pop(name) for name in names[split]], channels), labels[split]) for split in names
    )
    return train, test, classes


def _check_classes(path, train, test):
    if not train or not test:
        raise BadInput(f"{path} has no images in {'test' if train else 'train'}/: the layout should be {LAYOUT}.")
    if odd := sorted(test ^ set(train)):
        where = "train/" if odd[0] in train else "test/"
        raise BadInput(f"{path} has class '{odd[0]}' in {where} only: train/ and test/ should have the same classes.")


READERS = {"imagefolder": imagefolder, "imagenette": imagefolder, "tinyimagenet": tinyimagenet}
