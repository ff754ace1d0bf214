"""Herding (Welling, 2009; as a coreset in DC, section 4.1)."""

from torch import Tensor

from distillation.methods.families.coreset import Coreset, CoresetSettings
from distillation.training.selection import herding

Settings = CoresetSettings


class Herding(Coreset):
    """Greedy selection that keeps the mean of the selected features near the mean of the class.

    Each image is selected once at most. See ``training.selection.herding``.
    """

    def choose(self, features: Tensor, count: int) -> Tensor:
        """Returns the row numbers (count,) of the images that herding selects, in the order of selection."""
        return herding(features, count)


METHOD = Herding
