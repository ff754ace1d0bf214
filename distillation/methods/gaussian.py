"""Images of pure N(0, 1) noise in the dataset's space: KRR-ST's control without any data (its Table 4)."""

from typing import TYPE_CHECKING

import torch

from distillation.methods.base import SelectionMethod
from distillation.params import Section

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


class Settings(Section):
    """Has no settings."""


class Gaussian(SelectionMethod[Settings]):
    """A set of Gaussian noise, the control without any data; nothing is optimised."""

    def result(self) -> "DistilledSet":
        """Returns ``ipc`` images of each class whose pixels are drawn from N(0, 1), with hard labels."""
        problem = self.problem
        shape = (problem.classes * problem.settings.ipc, *problem.data.train.images.shape[1:])
        images = torch.randn(shape, generator=problem.draws("noise")).to(problem.device)
        return problem.hard_set(images, problem.labels())


METHOD = Gaussian
