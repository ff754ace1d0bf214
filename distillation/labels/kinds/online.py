"""The teacher itself, which labels every batch of a student (SC-DD, SRe2L on CIFAR)."""

from typing import cast

from distillation.data.distilled import DistilledSet
from distillation.labels.labelling import Files, Labelling, beside
from distillation.labels.predict import picked
from distillation.labels.settings import Online as Settings
from distillation.teachers.pool import FILE

__all__ = ["Settings", "label"]


def label(distilled: DistilledSet, name: str, labelling: Labelling) -> tuple[DistilledSet, Files]:
    """Returns the set without targets, and the file of the teachers that label it.

    The file has the form of a pool's, and holds only the teachers that ``pick`` names.
    """
    content, record = labelling.pool.part(picked(labelling.pool, cast("Settings", labelling.settings).pick))
    return beside(distilled, "online", labelling.settings, content), {FILE: (content, record)}
