"""Random real images of each class: the control of every table."""

from typing import TYPE_CHECKING

from distillation.methods.base import SelectionMethod
from distillation.params import Section

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


class Settings(Section):
    """Nothing to set."""


class Random(SelectionMethod[Settings]):
    def result(self) -> "DistilledSet":
        problem = self.problem
        chosen = problem.pick(problem.settings.ipc, problem.draws("pick")).flatten()
        return problem.hard_set(problem.real(chosen), problem.labels(), chosen=chosen.tolist())


METHOD = Random
