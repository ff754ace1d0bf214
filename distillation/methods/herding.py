"""Herding (Welling, 2009; as a coreset in DC, section 4.1)."""

from torch import Tensor

from distillation.methods.families.coreset import Coreset, CoresetSettings
from distillation.training.selection import herding

Settings = CoresetSettings


class Herding(Coreset):
    def choose(self, features: Tensor, count: int) -> Tensor:
        return herding(features, count)


METHOD = Herding
