"""DM: distribution matching (Zhao and Bilen, WACV 2023).

Each iteration draws a fresh random network and moves the synthetic images so that, class by class, the mean feature
of their siamese-augmented copies meets that of a batch of real images (equation 6):

    L = sum_c || mean psi(A_c(T_c)) - mean psi(A_c(S_c)) ||^2

All classes pass together, in chunks: per-class means are taken afterwards. Networks with BatchNorm see all real images
in one batch and all synthetic ones in another, in train mode, as the official code does.
"""

import torch
from pydantic import Field

from distillation.augment.siamese import apply, draw
from distillation.methods.base import Method, StepResult
from distillation.networks.build import has_features, initialise
from distillation.params import Section
from distillation.runtime.device import autocast, compiled
from distillation.runtime.errors import BadInput


class Settings(Section):
    """``batch_real`` images of each class, or as many as the smallest class has."""

    iterations: int = Field(ge=1)
    lr_img: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    batch_real: int = Field(ge=1)


class DM(Method):
    guided = True
    matches_features = True

    def __init__(self, problem, settings):
        super().__init__(problem, settings)
        self.total = settings.iterations
        self.labels = problem.labels()
        self.images = problem.initial_images().requires_grad_()
        self.optimizer = torch.optim.SGD([self.images], settings.lr_img, settings.momentum)
        self.batch = min(settings.batch_real, *map(len, problem.data.members))
        self.network = problem.network(problem.draws("network")).requires_grad_(False)
        if not has_features(self.network):
            raise BadInput(f"method.network is {problem.settings.network}, which has no features that DM could match.")
        self.whole_batch = any(isinstance(m, torch.nn.BatchNorm2d) for m in self.network.modules())
        self.embed = compiled(self.network.embed) if problem.settings.compile else self.network.embed

    def advance(self):
        problem = self.problem
        draws = problem.draws("iteration", self.at)
        initialise(self.network, draws)
        chosen = problem.pick(self.batch, draws)
        ops, numbers = draw(problem.strategy, problem.classes, 1, draws)

        def means(images, count):
            """Mean features (classes, F) of ``count`` images a class, every class under its one drawn augmentation."""
            seen = apply(
                images, problem.strategy, ops.repeat_interleave(count), numbers[:, 0].repeat_interleave(count, 0)
            )
            return self._features(seen).view(problem.classes, count, -1).mean(1)

        with torch.no_grad():
            wanted = means(problem.real(chosen.flatten()), self.batch)
        loss = (wanted - means(self.images, problem.settings.ipc)).square().sum()
        (self.images.grad,) = torch.autograd.grad(loss, self.images)
        self.at += 1
        return StepResult(image_grad_ready=True, metrics={"loss": loss.detach() / problem.classes})

    def _features(self, images):
        size = len(images) if self.whole_batch else self.problem.settings.chunk
        with autocast(images.device, self.problem.settings.precision):
            return torch.cat([self.embed(chunk) for chunk in images.split(size)]).float()

    def apply(self):
        self.optimizer.step()

    def result(self):
        return self.problem.hard_set(self.images, self.labels)

    def state_dict(self):
        return {"at": self.at, "images": self.images.detach(), "optimizer": self.optimizer.state_dict()["state"]}

    def load_state_dict(self, state):
        self.at = state["at"]
        self.images.data.copy_(state["images"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state["optimizer"]})

    def cost(self):
        synthetic, real = self.at * len(self.images), self.at * self.batch * self.problem.classes
        passes = real + 3 * synthetic  # a backward pass costs about two forward ones
        return {
            "images_forward": real + synthetic,
            "images_backward": synthetic,
            "gflop": round(passes * self.problem.forward_flops() / 1e9, 1),
        }


METHOD = DM
