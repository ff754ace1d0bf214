"""The base of herding, k-center and k-means: the choice of real images by their features, class by class.

The selections themselves are in ``training.selection``, which the baselines use too.
"""

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from distillation.methods.base import Problem, SelectionMethod, StepResult
from distillation.networks.chunks import in_chunks
from distillation.params import Section

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


class CoresetSettings(Section):
    """The settings of coresets.

    Attributes:
        features: what distances between images are computed on: ``teacher``, the features of the first network of
            ``method.teacher``, before its classifier; or ``pixels``, the flattened images in the dataset's space.
    """

    features: Literal["teacher", "pixels"]


class Coreset(SelectionMethod[CoresetSettings]):
    """Selects ``ipc`` real images of each class by their features; one unit of work is one class.

    A subclass defines ``choose``.

    Raises:
        BadInput: a class has fewer than ``ipc`` images, or the teacher has no features.

    Attributes:
        chosen: indices of the images selected so far, in the order of the classes.
        embed: the teacher's function from inputs to features; None where features are pixels.
    """

    def __init__(self, problem: Problem, settings: CoresetSettings) -> None:
        super().__init__(problem, settings)
        self.total = problem.classes
        self.chosen: list[int] = []
        problem.data.require(problem.settings.ipc)
        self.embed = problem.embedder.embed if settings.features == "teacher" else None

    @classmethod
    def reads_teachers(cls, settings: CoresetSettings) -> bool:
        """Whether the features are those of a teacher."""
        return settings.features == "teacher"

    def choose(self, features: Tensor, count: int) -> Tensor:
        """Chooses images of one class.

        Args:
            features: of all N training images of the class, (N, F) float32 on the CPU.
            count: number of images to choose.

        Returns:
            Row numbers of ``features``, (count,) int64, each once.
        """
        raise NotImplementedError

    def advance(self) -> StepResult:
        """Selects the images of the next class."""
        members = self.problem.data.members[self.at]
        features = self._features(members)
        # on the CPU, so that rounding and ties in the choice do not depend on the device
        self.chosen += members[self.choose(features.cpu(), self.problem.settings.ipc)].tolist()
        self.at += 1
        return StepResult(image_grad_ready=False)

    @torch.no_grad()
    def _features(self, members: Tensor) -> Tensor:
        """Returns flattened pixels or the teacher's features, (N, F), of the training images at ``members`` (N,)."""
        problem, embed = self.problem, self.embed
        if embed is None:
            return problem.real(members).flatten(1)
        return in_chunks(
            lambda part: embed(problem.pool.take(problem.real(part), problem.data.space)),
            members,
            problem.settings.chunk,
        )

    def result(self) -> "DistilledSet":
        """Returns the selected images with hard labels; the record has their indices as ``chosen``."""
        chosen = torch.tensor(self.chosen)
        return self.problem.hard_set(self.problem.real(chosen), self.problem.labels(), chosen=self.chosen)

    def state_dict(self) -> dict[str, Any]:
        """Returns the indices selected so far."""
        return {"at": self.at, "chosen": self.chosen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.at, self.chosen = state["at"], state["chosen"]
