"""From the settings of a dataset to its RealSet: files are found or downloaded, read, resized, and checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distillation.data import valid
from distillation.data.faults import Findings
from distillation.data.indexed import IndexedImages
from distillation.data.real import RealSet, Split
from distillation.data.spaces import Space
from distillation.datasets import archives, arrays, finegrained, folders, indexing, normalise, pictures
from distillation.datasets.catalogue import CATALOGUE
from distillation.datasets.downloads import fetch
from distillation.datasets.settings import statistics_of
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distillation.datasets.catalogue import Dataset, File
    from distillation.datasets.settings import DatasetSettings


def read(settings: "DatasetSettings", raw_root: str | Path) -> RealSet:
    """Reads a dataset from its published files, or a user's archive.

    Args:
        settings: the section of params.yaml that names the dataset.
        raw_root: the folder of downloads; a dataset's files are searched in, and downloaded to, ``raw_root/NAME/``. The
            images of an index go to ``raw_root/images/``.

    Returns:
        The RealSet, on the CPU.

    Raises:
        BadInput: a file is missing or damaged and cannot be downloaded, or the images form no dataset (see the readers).
    """
    dataset, findings = CATALOGUE[settings.name], Findings(skip=settings.faulty == "skip")
    if settings.name == "imagefolder":
        paths = [Path(settings.archive)]
    else:
        paths = [fetch(file, Path(raw_root) / settings.name) for file in dataset.files]
    if indexing.needs_index(settings, paths):
        size: Any = settings.pixels  # an index has one
        index = indexing.read(paths[0], size, settings.colour, Path(raw_root) / "images", findings)
        # functions, as computing statistics takes a pass over all pixels, and published ones may be chosen
        (train, test, classes), statistics = index.splits, lambda: normalise.moments(index.counts)
        form = {"index": index.name, "colour": settings.colour}
    else:
        train, test, classes = _splits(settings, paths, findings)
        statistics, form = lambda: normalise.statistics(train.images), {}
    classes = list(dataset.classes or classes or ())
    _check(settings.name, train, test, classes)
    space, stats = _space(settings, train.images, statistics)
    info = {
        "name": settings.name,
        "classes": classes,
        "channels": train.images.shape[1],
        "size": train.images.shape[-1],
        "flip": dataset.flip if settings.flip == "auto" else settings.flip,
        "stats": stats,
        "files": _records(dataset, paths),
        **form,
        **({"skipped": findings.ordered()} if findings.faults else {}),
    }
    return RealSet(train, test, space, info)


def _splits(
    settings: "DatasetSettings", paths: list[Path], findings: Findings
) -> tuple[Split, Split, list[str] | None]:
    """Reads (train, test, class names) by the dataset's reader; None for names that only the catalogue has."""
    encoded = {**folders.READERS, **finegrained.READERS}
    if settings.name in encoded:
        return encoded[settings.name](*paths, settings.pixels, settings.colour, findings)
    splits = arrays.READERS[settings.name](*paths)
    train, test = (Split(pictures.reshape(s.images, settings.pixels, settings.colour), s.labels) for s in splits)
    return train, test, None


def _records(dataset: "Dataset", paths: list[Path]) -> list[dict[str, str]]:
    """Name and SHA-256 of each file that was read: from the catalogue where it has them, else computed."""
    if not dataset.files:
        return [{"name": path.name, "sha256": archives.digest(path)} for path in paths]
    return [_record(file, path) for file, path in zip(dataset.files, paths, strict=True)]


def _record(file: "File", path: Path) -> dict[str, str]:
    """Name and SHA-256 of a published file, computed if the catalogue has its MD5 only."""
    algorithm, checksum = file.checksum.split(":")
    return {"name": file.name, "sha256": checksum if algorithm == "sha256" else archives.digest(path)}


def _check(name: str, train: Split, test: Split, classes: list[str]) -> None:
    """Raises BadInput unless there are two classes or more, and images of each in both splits."""
    if len(classes) < 2:
        raise BadInput(f"{name} has {len(classes)} class: a dataset should have two or more.")
    for name_of_split, split in (("train", train), ("test", test)):
        if isinstance(split.images, torch.Tensor) and len(split):
            valid.check_images(split.images, torch.uint8, f"{name}: {name_of_split}")
        if not len(split) or split.labels.min() < 0 or split.labels.max() >= len(classes):
            raise BadInput(
                f"{name}'s {name_of_split} labels should be numbers from 0 to {len(classes) - 1}, but are not all."
            )
        lacking = torch.nonzero(torch.bincount(split.labels, minlength=len(classes)) == 0)
        if lacking.numel():
            raise BadInput(
                f"{name} has no {name_of_split} image of class '{classes[int(lacking[0])]}': every class needs one."
            )


def _space(
    settings: "DatasetSettings",
    images: Tensor | IndexedImages,
    statistics: "Callable[[], tuple[Sequence[float], Sequence[float]]]",
) -> tuple[Space, str]:
    """Makes the Space of a dataset.

    Args:
        settings: of the dataset.
        images: the training images.
        statistics: function that computes (mean, std) of their channels; it is called only if these are needed.

    Returns:
        The Space, and where its statistics are from: ``computed``, ``published``, ``given`` or the name of a dataset.
    """
    if settings.zca:
        assert isinstance(images, torch.Tensor)  # the settings refuse zca of an index
        return normalise.whitening(images), "computed"
    pair = statistics_of(settings, images.shape[1], images.shape[-1])
    if pair is None:
        return Space.normalised(*statistics()), "computed"
    return Space.normalised(*pair), settings.stats if isinstance(settings.stats, str) else "given"
