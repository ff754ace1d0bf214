"""The fine-grained datasets of transfer: photographs in one place, official splits and labels in another.

Each reader takes

- the paths of the published files, in the catalogue's order;
- ``size``, ``colour``: pixels of a side, and the conversion of colours, as in ``pictures.decode``, but ``auto`` is RGB;
- ``findings``, which receive faulty photographs, and those that a list names but the archive lacks.

It returns (train, test, class names) and raises BadInput if a file is damaged or, unless they are skipped, if
photographs are faulty. Images are squashed to a square (Lanczos), which keeps all of an image but not its proportions,
as in MKDT, which claims to follow KRR-ST; KRR-ST's own filter is not known. Banners, like those of FGVC-Aircraft, are
not cropped.
"""

import io
import struct
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from distillation.data.faults import Faulty, Findings
from distillation.data.real import Split
from distillation.datasets import archives, pictures
from distillation.datasets.folders import LARGEST, Place, splits
from distillation.runtime.errors import BadInput

Splits = tuple[Split, Split, list[str]]  # train, test and the class names


def aircraft(archive: Path, size: int | None, colour: str, findings: Findings) -> Splits:
    """Reads FGVC-Aircraft 2013b, its 100 variants: train and val together (6,667) for training, test (3,333)."""
    lists = {"images_variant_trainval.txt": "train", "images_variant_test.txt": "test"}
    notes, places = _named(archive, lists), {}
    for name, split in lists.items():
        for line in _lines(notes, name, archive):
            number, _, variant = line.partition(" ")
            places[f"{number}.jpg"] = Place(split, variant, number)
    return _read(archive, places, size, colour, findings)


def cub(archive: Path, size: int | None, colour: str, findings: Findings) -> Splits:
    """Reads CUB-200-2011: 5,994 train and 5,794 test images, by train_test_split.txt."""
    lists = ("images.txt", "train_test_split.txt")
    notes, places = _named(archive, lists), {}
    names, trains = (dict(line.split() for line in _lines(notes, name, archive)) for name in lists)
    for number, name in names.items():
        label, _, file = name.rpartition("/")
        places[file] = Place("train" if trains[number] == "1" else "test", label, file)
    return _read(archive, places, size, colour, findings)


def dogs(images: Path, lists: Path, size: int | None, colour: str, findings: Findings) -> Splits:
    """Reads Stanford Dogs: 12,000 train and 8,580 test images, by lists.tar. All are training images of ImageNet."""
    notes, places = _named(lists, ("train_list.mat", "test_list.mat")), {}
    for split in ("train", "test"):
        for name in _items(_mat(notes, f"{split}_list.mat", lists, "file_list")):
            label, _, file = name.rpartition("/")
            places[file] = Place(split, label, file)
    return _read(images, places, size, colour, findings)


def flowers(images: Path, labels: Path, sets: Path, size: int | None, colour: str, findings: Findings) -> Splits:
    """Reads Oxford Flowers-102: the official train (1,020) and test (6,149) images; val is left out, as in MKDT.

    The training images of KRR-ST are not known.
    """
    label_of, places = _mat(_file(labels), labels.name, labels, "labels").ravel(), {}
    for key, split in (("trnid", "train"), ("tstid", "test")):
        for number in _mat(_file(sets), sets.name, sets, key).ravel().tolist():
            file = f"image_{number:05d}.jpg"
            places[file] = Place(split, f"{label_of[number - 1]:03d}", file)
    return _read(images, places, size, colour, findings)


def cars(
    train: Path, test: Path, devkit: Path, test_labels: Path, size: int | None, colour: str, findings: Findings
) -> Splits:
    """Reads Stanford Cars: 8,144 train and 8,041 test images, with the test labels that were published later."""
    notes = _named(devkit, ("cars_train_annos.mat", "cars_meta.mat")) | _file(test_labels)
    names = _items(_mat(notes, "cars_meta.mat", devkit, "class_names"))
    places = {}  # by split and name: both archives number their photographs from 00001.jpg on
    for split, file, path in (("train", "cars_train_annos.mat", devkit), ("test", test_labels.name, test_labels)):
        annotations = _mat(notes, file, path, "annotations").ravel()
        for name, label in zip(_items(annotations["fname"]), _items(annotations["class"]), strict=True):
            places[f"{split}/{name}"] = Place(split, names[label - 1], name)
    members = (
        (f"{split}/{name.rpartition('/')[2]}", content)
        for split, archive in (("train", train), ("test", test))
        for name, content in archives.members(archive, _is_photograph, findings, LARGEST)
    )
    return _split(train, members, places, size, colour, findings)


def _read(archive: Path, places: Mapping[str, Place], size: int | None, colour: str, findings: Findings) -> Splits:
    """Reads the images of one archive; ``places`` maps names of files, without folders, to their Places."""
    members = archives.members(archive, _is_photograph, findings, LARGEST)
    named = ((name.rpartition("/")[2], content) for name, content in members)
    return _split(archive, named, places, size, colour, findings)


def _split(
    path: Path,
    members: Iterable[tuple[str, bytes]],
    places: Mapping[str, Place],
    size: int | None,
    colour: str,
    findings: Findings,
) -> Splits:
    """Decodes those ``members`` that ``places`` lists, settles the faults and stacks the splits."""
    images = ((name, content) for name, content in members if name in places)
    arrays = pictures.decode(images, size, "rgb" if colour == "auto" else colour, squash=True, findings=findings)
    known = {name.rpartition("/")[2] for name in findings.faults}
    for name in places.keys() - arrays.keys():
        if name.rpartition("/")[2] not in known:
            findings.add(name, Faulty("is missing, which its split names"))
    findings.settle(path, f"fetch {path.name} again, or set the dataset's `faulty` to skip")
    return splits(path, arrays, {name: places[name] for name in arrays}, places)


def _is_photograph(name: str) -> bool:
    return name.endswith(".jpg")


def _named(archive: Path, names: Collection[str]) -> dict[str, bytes]:
    """The contents of the files of an archive with these names, in any folder."""
    members = archives.members(archive, lambda name: name.rpartition("/")[2] in names)
    return {name.rpartition("/")[2]: content for name, content in members}


def _file(path: Path) -> dict[str, bytes]:
    """The content of a file by its name, as ``_named`` returns those of an archive."""
    return {path.name: path.read_bytes()}


def _lines(notes: Mapping[str, bytes], name: str, path: Path) -> list[str]:
    """The lines, but for blank ones, of the text ``name`` among ``notes``, the files of the archive ``path``."""
    if name not in notes:
        raise BadInput(f"{path} lacks {name}: fetch it again.")
    return [line for line in notes[name].decode().splitlines() if line.strip()]


def _mat(notes: Mapping[str, bytes], name: str, path: Path, key: str) -> np.ndarray:
    """Reads the variable ``key`` of a MATLAB file; scipy reads numbers, text and structures of them, and runs no code."""
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


def _items(cells: np.ndarray) -> list:
    """The text or numbers in a MATLAB cell array; scipy wraps each in an array of one."""
    return [np.ravel(cell)[0] for cell in cells.ravel()]


READERS = {"aircraft": aircraft, "flowers": flowers, "cub": cub, "dogs": dogs, "cars": cars}
