"""The base of herding, k-center and k-means: the choice of real images by their features, class by class."""

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from distillation.methods.base import Problem, SelectionMethod, StepResult
from distillation.networks.chunks import in_chunks
from distillation.params import Section

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


class CoresetSettings(Section):
    """The features that images are chosen by.

    Attributes:
        features: ``teacher`` (before the classifier of the pool's first network) or ``pixels`` (in the dataset's space).
    """

    features: Literal["teacher", "pixels"]


class Coreset(SelectionMethod[CoresetSettings]):
    """Selects ``ipc`` real images of each class by their features; one unit of work is one class."""

    def __init__(self, problem: Problem, settings: CoresetSettings) -> None:
        super().__init__(problem, settings)
        self.total = problem.classes
        self.chosen: list[int] = []
        problem.data.require(problem.settings.ipc)
        self.embed = problem.embedder.embed if settings.features == "teacher" else None

    @classmethod
    def reads_teachers(cls, settings: CoresetSettings) -> bool:
        """Whether features are a teacher's."""
        return settings.features == "teacher"

    def choose(self, features: Tensor, count: int) -> Tensor:
        """Returns the positions (count,) of the chosen images among those with the features (N, F)."""
        raise NotImplementedError

    def advance(self) -> StepResult:
        """Selects the images of the next class."""
        members = self.problem.data.members[self.at]
        features = self._features(members)
        self.chosen += members[self.choose(features.cpu(), self.problem.settings.ipc)].tolist()
        self.at += 1
        return StepResult(image_grad_ready=False)

    @torch.no_grad()
    def _features(self, members: Tensor) -> Tensor:
        """Returns the flattened pixels of training images, or their features (N, F) under the first network of the pool."""
        problem, embed = self.problem, self.embed
        if embed is None:
            return problem.real(members).flatten(1)
        return in_chunks(
            lambda part: embed(problem.pool.take(problem.real(part), problem.data.space)),
            members,
            problem.settings.chunk,
        )

    def result(self) -> "DistilledSet":
        """Returns the selected images with hard labels."""
        chosen = torch.tensor(self.chosen)
        return self.problem.hard_set(self.problem.real(chosen), self.problem.labels(), chosen=self.chosen)

    def state_dict(self) -> dict[str, Any]:
        """Returns the indices selected so far."""
        return {"at": self.at, "chosen": self.chosen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.at, self.chosen = state["at"], state["chosen"]
