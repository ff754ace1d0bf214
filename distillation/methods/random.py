"""Random real images of each class: the control of every table."""

from distillation.methods.base import SelectionMethod
from distillation.params import Section


class Settings(Section):
    """Nothing to set."""


class Random(SelectionMethod):
    def result(self):
        problem = self.problem
        chosen = problem.pick(problem.settings.ipc, problem.draws("pick")).flatten()
        return problem.hard_set(problem.real(chosen), problem.labels(), chosen=chosen.tolist())


METHOD = Random
