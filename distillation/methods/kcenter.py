"""K-center (Sener and Savarese, 2018; as a coreset in DC, section 4.1)."""

from torch import Tensor

from distillation.methods.families.coreset import Coreset, CoresetSettings
from distillation.training.selection import k_center

Settings = CoresetSettings


class KCenter(Coreset):
    """Greedy selection that minimises the largest distance of an image from the selected ones."""

    def choose(self, features: Tensor, count: int) -> Tensor:
        """Returns the positions (count,) by greedy k-center."""
        return k_center(features, count)


METHOD = KCenter
