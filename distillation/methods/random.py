"""Random real images of each class: the control of every table."""

from typing import TYPE_CHECKING

from distillation.methods.base import SelectionMethod
from distillation.params import Section

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


class Settings(Section):
    """Has no settings."""


class Random(SelectionMethod[Settings]):
    """A random selection of real images."""

    def result(self) -> "DistilledSet":
        """Returns ``ipc`` random images of each class with hard labels."""
        problem = self.problem
        chosen = problem.pick(problem.settings.ipc, problem.draws("pick")).flatten()
        return problem.hard_set(problem.real(chosen), problem.labels(), chosen=chosen.tolist())


METHOD = Random
