"""Random real images of each class: the control of every table."""

from typing import TYPE_CHECKING

from distillation.methods.base import SelectionMethod
from distillation.params import Section

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


class Settings(Section):
    """Has no settings."""


class Random(SelectionMethod[Settings]):
    """A random selection of real images, the control that every distilled set should beat."""

    def result(self) -> "DistilledSet":
        """Draws ``ipc`` different images of each class and returns them with hard labels.

        The record has their indices as ``chosen``.

        Raises:
            BadInput: a class has fewer than ``ipc`` training images.
        """
        problem = self.problem
        chosen = problem.pick(problem.settings.ipc, problem.draws("pick")).flatten()
        return problem.hard_set(problem.real(chosen), problem.labels(), chosen=chosen.tolist())


METHOD = Random
