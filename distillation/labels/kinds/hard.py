"""The class that a pool predicts for each image."""

from dataclasses import replace

from distillation.data.distilled import DistilledSet
from distillation.labels.labelling import Files, Labelling
from distillation.labels.settings import Picked as Settings

__all__ = ["Settings", "label"]


def label(distilled: DistilledSet, name: str, labelling: Labelling) -> tuple[DistilledSet, Files]:
    """Returns the set with the classes (N,) int64 that the pool predicts in place of those it was made for.

    Raises:
        BadInput: the pool takes images of another shape.
    """
    labels = labelling.predictions(distilled, lambda logits: logits).argmax(1)
    return replace(distilled, labels=labels, targets=None, info={**distilled.info, "labels": "hard"}), {}
