"""The probabilities that a pool gives each class of each image, at a temperature."""

from dataclasses import replace
from typing import cast

from distillation.data.distilled import DistilledSet
from distillation.labels.labelling import Files, Labelling
from distillation.labels.settings import Probs as Settings

__all__ = ["Settings", "label"]


def label(distilled: DistilledSet, name: str, labelling: Labelling) -> tuple[DistilledSet, Files]:
    """Returns the set with probabilities (N, K) as targets: the softmax of logits divided by the temperature.

    Its classes, if it has any, stay. Of several teachers the probabilities are averaged, not the logits.

    Raises:
        BadInput: the pool takes images of another shape.
    """
    temperature = cast("Settings", labelling.settings).temperature
    targets = labelling.predictions(distilled, lambda logits: (logits / temperature).softmax(1))
    return replace(distilled, targets=targets, info={**distilled.info, "labels": "soft"}), {}
