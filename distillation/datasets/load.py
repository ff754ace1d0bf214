"""From the settings of a dataset to its RealSet."""

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
    """Reads a dataset; downloads go to ``raw_root/NAME/``.

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
    encoded = {**folders.READERS, **finegrained.READERS}
    if settings.name in encoded:
        return encoded[settings.name](*paths, settings.pixels, settings.colour, findings)
    splits = arrays.READERS[settings.name](*paths)
    train, test = (Split(pictures.reshape(s.images, settings.pixels, settings.colour), s.labels) for s in splits)
    return train, test, None


def _records(dataset: "Dataset", paths: list[Path]) -> list[dict[str, str]]:
    """Name and sha256 of each file that was read; ``dataset`` knows those of published files, but not of an archive."""
    if not dataset.files:
        return [{"name": path.name, "sha256": archives.digest(path)} for path in paths]
    return [_record(file, path) for file, path in zip(dataset.files, paths, strict=True)]


def _record(file: "File", path: Path) -> dict[str, str]:
    algorithm, checksum = file.checksum.split(":")
    return {"name": file.name, "sha256": checksum if algorithm == "sha256" else archives.digest(path)}


def _check(name: str, train: Split, test: Split, classes: list[str]) -> None:
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
    """The Space, and where its statistics are from: ``computed`` by the function, ``given``, ``published`` or a dataset."""
    if settings.zca:
        assert isinstance(images, torch.Tensor)  # the settings refuse zca of an index
        return normalise.whitening(images), "computed"
    pair = statistics_of(settings, images.shape[1], images.shape[-1])
    if pair is None:
        return Space.normalised(*statistics()), "computed"
    return Space.normalised(*pair), settings.stats if isinstance(settings.stats, str) else "given"
