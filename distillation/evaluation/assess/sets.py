"""The sets that are assessed, and the real images that they are compared with."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator


def classes_of(distilled: DistilledSet) -> Tensor:
    """Returns the class numbers (N,) int64 of a set whose images have classes, as all sets that are assessed do."""
    assert distilled.labels is not None
    return distilled.labels


def sets_of(files: Mapping[str, Path], data: RealSet) -> dict[str, DistilledSet]:
    """Loads the sets that are assessed, and adds random training images for reference.

    Args:
        files: files of DistilledSets by name, ``distilled`` among them.
        data: the dataset that was distilled.

    Returns:
        The sets by name, on the device of ``data``. The additional ``random`` has as many images of each class as
        ``distilled``, with their own labels. They are the same for every set and model.

    Raises:
        BadInput: the set has other classes than ``data``, or more images of a class than ``data``.
    """
    device = data.train.labels.device
    sets = {name: DistilledSet.load(path, device) for name, path in files.items()}
    distilled = sets["distilled"]
    if distilled.info["classes"] != data.classes:
        raise BadInput(
            "the classes of the distilled set are not those of the dataset: there is nothing to hold it against."
        )
    counts = torch.bincount(classes_of(distilled).cpu(), minlength=len(data.classes)).tolist()
    for name, members, count in zip(data.classes, data.members, counts, strict=True):
        if count > len(members):
            raise BadInput(
                f"the distilled set has {count} images of class {name!r}, but the dataset only {len(members)}."
            )
    chosen = torch.cat(data.sample(counts, generator(0, "assess random"))).to(device)
    random = DistilledSet(
        data.encode(data.train.images[chosen]),
        data.train.labels[chosen],
        None,
        data.space,
        {**distilled.info, "labels": "hard"},
    )
    return {**sets, "random": random}
