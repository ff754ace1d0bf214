"""k-means: the real images nearest to the centroids (the baseline of KRR-ST and DC-BENCH)."""

from torch import Tensor

from distillation.methods.families.coreset import Coreset, CoresetSettings
from distillation.training.selection import k_means

Settings = CoresetSettings


class KMeans(Coreset):
    """The real images nearest to the centroids of ``ipc`` clusters a class; see ``training.selection.k_means``."""

    def choose(self, features: Tensor, count: int) -> Tensor:
        """Returns the row numbers (count,) of the images nearest to the centroids; ``method.seed`` seeds k-means."""
        return k_means(features, count, self.problem.settings.seed)


METHOD = KMeans
