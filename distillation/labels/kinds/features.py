"""The features of a pool's first network for each image, for pre-training without classes (KRR-ST)."""

from dataclasses import replace

from distillation.data.distilled import DistilledSet
from distillation.labels.labelling import Files, Labelling
from distillation.labels.predict import features
from distillation.params import Section


class Settings(Section):
    """Has no settings: features are those of the pool's first network, since those of several networks have no mean."""


def label(distilled: DistilledSet, name: str, labelling: Labelling) -> tuple[DistilledSet, Files]:
    """Returns the set with features (N, F) float32 as targets; its classes, if it has any, stay.

    Raises:
        BadInput: the pool takes images of another shape, or its first network has no features.
    """
    targets = features(labelling.pool, distilled.images, distilled.space)
    return replace(distilled, targets=targets, info={**distilled.info, "labels": "features"}), {}
