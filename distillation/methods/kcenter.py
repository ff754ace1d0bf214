"""K-center (Sener and Savarese, 2018; as a coreset in DC, section 4.1)."""

from typing import Literal

from distillation.methods.families.coreset import Coreset
from distillation.params import Section
from distillation.training.selection import k_center


class Settings(Section):
    """``features``: teacher (before the classifier of the first teacher) or pixels (in the dataset's space)."""

    features: Literal["teacher", "pixels"]


class KCenter(Coreset):
    def choose(self, features, count):
        return k_center(features, count)


METHOD = KCenter
