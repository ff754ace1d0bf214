"""What herding, k-center and k-means share: features of every class's images, and a choice among them."""

import torch
from torch import Tensor

from distillation.methods.base import SelectionMethod, StepResult
from distillation.networks.chunks import in_chunks
from distillation.runtime.errors import BadInput


class Coreset(SelectionMethod):
    """Chooses ``ipc`` real images of each class by their features; one class is one unit of work."""

    def __init__(self, problem, settings):
        super().__init__(problem, settings)
        self.total = problem.classes
        self.chosen = []
        if problem.settings.ipc > (smallest := problem.data.smallest_class):
            raise BadInput(f"method.ipc is {problem.settings.ipc}, but the smallest class has {smallest} images.")

    @classmethod
    def reads_teachers(cls, settings):
        return settings.features == "teacher"

    def choose(self, features: Tensor, count: int) -> Tensor:
        """Positions of ``count`` images among features (N, F)."""
        raise NotImplementedError

    def advance(self):
        members = self.problem.data.members[self.at]
        features = self._features(members)
        self.chosen += members[self.choose(features.cpu(), self.problem.settings.ipc)].tolist()
        self.at += 1
        return StepResult(image_grad_ready=False)

    @torch.no_grad()
    def _features(self, members):
        """Pixels of training images, or features (N, F) under the first teacher of ``method.teacher``, trained on all data."""
        if self.settings.features == "pixels":
            return self.problem.real(members).flatten(1)
        problem, pool = self.problem, self.problem.teachers
        network = pool.network(pool.members[0])
        return in_chunks(
            lambda part: network.embed(pool.take(problem.real(part), problem.data.space)),
            members,
            problem.settings.chunk,
        )

    def result(self):
        chosen = torch.tensor(self.chosen)
        return self.problem.hard_set(self.problem.real(chosen), self.problem.labels(), chosen=self.chosen)

    def state_dict(self):
        return {"at": self.at, "chosen": self.chosen}

    def load_state_dict(self, state):
        self.at, self.chosen = state["at"], state["chosen"]
