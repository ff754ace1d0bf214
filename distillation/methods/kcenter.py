"""K-center (Sener and Savarese, 2018; as a coreset in DC, section 4.1)."""

from torch import Tensor

from distillation.methods.families.coreset import Coreset, CoresetSettings
from distillation.training.selection import k_center

Settings = CoresetSettings


class KCenter(Coreset):
    """Greedy selection that keeps the largest distance of an image from its nearest selected one small.

    It begins with the image nearest to the class mean and adds the image that is farthest from all selected ones. See
    ``training.selection.k_center``.
    """

    def choose(self, features: Tensor, count: int) -> Tensor:
        """Returns the row numbers (count,) of the images that k-center selects, in the order of selection."""
        return k_center(features, count)


METHOD = KCenter
