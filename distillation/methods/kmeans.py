"""k-means: the real images nearest to the centroids (the baseline of KRR-ST and DC-BENCH)."""

from typing import Literal

from distillation.methods.families.coreset import Coreset
from distillation.params import Section
from distillation.training.selection import k_means


class Settings(Section):
    """``features``: teacher (before the classifier of the first teacher) or pixels (in the dataset's space)."""

    features: Literal["teacher", "pixels"]


class KMeans(Coreset):
    def choose(self, features, count):
        return k_means(features, count, self.problem.settings.seed)


METHOD = KMeans
