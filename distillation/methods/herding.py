"""Herding (Welling, 2009; as a coreset in DC, section 4.1)."""

from typing import Literal

from distillation.methods.families.coreset import Coreset
from distillation.params import Section
from distillation.training.selection import herding


class Settings(Section):
    """``features``: teacher (before the classifier of the first teacher) or pixels (in the dataset's space)."""

    features: Literal["teacher", "pixels"]


class Herding(Coreset):
    def choose(self, features, count):
        return herding(features, count)


METHOD = Herding
