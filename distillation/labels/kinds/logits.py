"""The logits of a pool for each image, learnt by regression (APM)."""

from dataclasses import replace

from distillation.data.distilled import DistilledSet
from distillation.labels.labelling import Files, Labelling
from distillation.labels.settings import Picked as Settings

__all__ = ["Settings", "label"]


def label(distilled: DistilledSet, name: str, labelling: Labelling) -> tuple[DistilledSet, Files]:
    """Returns the set with the pool's logits (N, K) float32 as targets; its classes, if it has any, stay.

    Raises:
        BadInput: the pool takes images of another shape.
    """
    targets = labelling.predictions(distilled, lambda logits: logits)
    return replace(distilled, targets=targets, info={**distilled.info, "labels": "logits"}), {}
