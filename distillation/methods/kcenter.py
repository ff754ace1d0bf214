"""K-center (Sener and Savarese, 2018; as a coreset in DC, section 4.1)."""

from torch import Tensor

from distillation.methods.families.coreset import Coreset, CoresetSettings
from distillation.training.selection import k_center

Settings = CoresetSettings


class KCenter(Coreset):
    def choose(self, features: Tensor, count: int) -> Tensor:
        return k_center(features, count)


METHOD = KCenter
