"""The fine-grained datasets of transfer: photographs in one place, official splits and labels in another.

Each reader takes the published files, in the catalogue's order, and gives (train, test, class names). As in MKDT, which says
that it follows KRR-ST, images are squashed to a square (Lanczos), all of them kept and not their proportions; KRR-ST's own
filter is not known. What a photograph carries beside its motif, like the banner below FGVC-Aircraft's, stays.
"""

import io
import struct

import numpy as np

from distillation.datasets import archives, pictures
from distillation.datasets.folders import Place, splits
from distillation.runtime.errors import BadInput


def aircraft(archive, size, colour):
    """FGVC-Aircraft 2013b: the 100 variants; trained on train and val together (6,667), tested on test (3,333)."""
    lists = {"images_variant_trainval.txt": "train", "images_variant_test.txt": "test"}
    notes, places = _named(archive, lists), {}
    for name, split in lists.items():
        for line in _lines(notes, name, archive):
            number, _, variant = line.partition(" ")
            places[f"{number}.jpg"] = Place(split, variant, number)
    return _read(archive, places, size, colour)


def cub(archive, size, colour):
    """CUB-200-2011: 5,994 train and 5,794 test images, by train_test_split.txt."""
    lists = ("images.txt", "train_test_split.txt")
    notes, places = _named(archive, lists), {}
    names, trains = (dict(line.split() for line in _lines(notes, name, archive)) for name in lists)
    for number, name in names.items():
        label, _, file = name.rpartition("/")
        places[file] = Place("train" if trains[number] == "1" else "test", label, file)
    return _read(archive, places, size, colour)


def dogs(images, lists, size, colour):
    """Stanford Dogs: 12,000 train and 8,580 test images, by lists.tar. All are training images of ImageNet."""
    notes, places = _named(lists, ("train_list.mat", "test_list.mat")), {}
    for split in ("train", "test"):
        for name in _items(_mat(notes, f"{split}_list.mat", lists, "file_list")):
            label, _, file = name.rpartition("/")
            places[file] = Place(split, label, file)
    return _read(images, places, size, colour)


def flowers(images, labels, sets, size, colour):
    """Oxford Flowers-102: trained on the official train (1,020), tested on test (6,149); val is left out, as in MKDT.

    Which images KRR-ST trains on is not known.
    """
    label_of, places = _mat(_file(labels), labels.name, labels, "labels").ravel(), {}
    for key, split in (("trnid", "train"), ("tstid", "test")):
        for number in _mat(_file(sets), sets.name, sets, key).ravel().tolist():
            file = f"image_{number:05d}.jpg"
            places[file] = Place(split, f"{label_of[number - 1]:03d}", file)
    return _read(images, places, size, colour)


def cars(train, test, devkit, answers, size, colour):
    """Stanford Cars: 8,144 train and 8,041 test images, with the test labels that were published later."""
    notes = _named(devkit, ("cars_train_annos.mat", "cars_meta.mat")) | _file(answers)
    names = _items(_mat(notes, "cars_meta.mat", devkit, "class_names"))
    places = {}
    for split, file, path in (("train", "cars_train_annos.mat", devkit), ("test", answers.name, answers)):
        about = _mat(notes, file, path, "annotations").ravel()
        for name, label in zip(_items(about["fname"]), _items(about["class"]), strict=True):
            places[f"{split}/{name}"] = Place(split, names[label - 1], name)
    members = (
        (f"{split}/{name.rpartition('/')[2]}", content)
        for split, archive in (("train", train), ("test", test))
        for name, content in archives.members(archive, _is_photograph)
    )
    return _split(train, members, places, size, colour)


def _read(archive, places, size, colour):
    """The splits of an archive whose images ``places`` (file name to Place) names; others are left out."""
    members = archives.members(archive, _is_photograph)
    return _split(archive, ((name.rpartition("/")[2], content) for name, content in members), places, size, colour)


def _split(path, members, places, size, colour):
    wanted = ((name, content) for name, content in members if name in places)
    arrays = pictures.decode(wanted, size, "rgb" if colour == "auto" else colour, squash=True)
    if missing := places.keys() - arrays.keys():
        raise BadInput(f"{path} lacks {min(missing)}, which its split names: fetch it again.")
    return splits(path, arrays, places)


def _is_photograph(name):
    return name.endswith(".jpg")


def _named(archive, names):
    """Contents of the files of an archive that are called so, wherever they lie."""
    found = archives.members(archive, lambda name: name.rpartition("/")[2] in names)
    return {name.rpartition("/")[2]: content for name, content in found}


def _file(path):
    return {path.name: path.read_bytes()}


def _lines(notes, name, path):
    if name not in notes:
        raise BadInput(f"{path} lacks {name}: fetch it again.")
    return [line for line in notes[name].decode().splitlines() if line.strip()]


def _mat(notes, name, path, key):
    """The variable ``key`` of a MATLAB file; scipy reads numbers, text and structures of them, and runs nothing."""
    from scipy.io import loadmat  # slow to import
    from scipy.io.matlab import MatReadError

    if name not in notes:
        raise BadInput(f"{path} lacks {name}: fetch it again.")
    try:
        return loadmat(io.BytesIO(notes[name]), variable_names=[key])[key]
    except (
        MatReadError,
        KeyError,
        ValueError,
        TypeError,
        EOFError,
        OSError,
        struct.error,
        NotImplementedError,
    ) as error:
        raise BadInput(f"{name} does not read as a MATLAB file with {key!r}: fetch it again.") from error


def _items(cells):
    """What the cells of a MATLAB cell array hold, text or numbers: scipy wraps each in an array of one."""
    return [np.ravel(cell)[0] for cell in cells.ravel()]


READERS = {"aircraft": aircraft, "flowers": flowers, "cub": cub, "dogs": dogs, "cars": cars}
