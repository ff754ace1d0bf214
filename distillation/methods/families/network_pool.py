"""The base of FRePo and KRR-ST: images and targets learnt by regression on the features of a pool of networks.

An update draws a network of the pool, fits a linear map from the features of the images to their targets in closed form,
and moves both by the error of that map on a batch of real images. That network then learns a step from the new set.
"""

import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from distillation.methods.base import Common, ImageMethod, MethodSettings, Problem
from distillation.methods.cost import Outline
from distillation.methods.families.regressor import Regressor
from distillation.methods.families.ridge import require_finite_loss

if TYPE_CHECKING:
    from distillation.networks.build import Network


class NetworkPoolMethod(ImageMethod[MethodSettings]):
    """Images with learnt targets, moved by ridge regression on the features of networks that learn them in turn.

    A subclass sets ``targets``, ``optimizer`` and ``pool`` in its ``__init__``, and defines ``advance`` and ``apply``.

    Args:
        problem: see ``Method``.
        settings: see ``Method``; its ``pool`` is the number of networks.
        batch_real: real images of an update.

    Attributes:
        targets: label vectors (N, D) of the images, a leaf that requires a gradient.
        pool: the networks. This pool is a list inside the method, and no pool of teachers.
        embed: function of a network and images that returns features (N, F); compiled if ``method.compile`` is set.
        forward: the same that returns the network's outputs (N, D).
        batch_real: real images of an update.
        loss: of the last update of this run, (); None before it.
        network_steps: steps that the networks of the pool have taken together, for the cost.
    """

    matches_features = True
    variables = ("images", "targets")
    targets: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]: optional in ImageMethod, always set here
    pool: list[Regressor]

    def __init__(self, problem: Problem, settings: MethodSettings, batch_real: int) -> None:
        super().__init__(problem, settings)
        self.embed, self.forward = problem.compiled(_embed), problem.compiled(_forward)
        self.batch_real = batch_real
        self.loss: Tensor | None = None
        self.network_steps = 0

    @classmethod
    def holds(cls, common: Common, settings: MethodSettings, outline: Outline) -> dict[str, float]:
        """Counts also the networks of the pool, and a chunk of the images passing through one; see ``Method.holds``."""
        weights, pool = outline.weights(common.network), cast("Any", settings).pool
        images = getattr(settings, "images", None) or common.ipc * outline.classes  # KRR-ST alone has ``images``
        chunk = min(common.chunk, images) * outline.activations(common.network)
        more = {"network": weights, f"{common.name}.pool": pool * weights, "chunk": chunk}
        return {**super().holds(common, settings, outline), **more}

    @property
    def kernel_images(self) -> int:
        """The number of images in the kernel of the regression."""
        return len(self.images)

    def require_sound(self) -> None:
        """Checks the loss of the last update; raises Diverged if its kernel was singular or not finite."""
        if self.loss is not None:
            require_finite_loss(self.loss, self.kernel_images, cast("Any", self.settings).ridge)

    def _drawn(self, update: int) -> Regressor:
        """Returns the network of an update, drawn uniformly; always the same for the same ``update``."""
        return self.pool[int(torch.randint(len(self.pool), (1,), generator=self.problem.draws("network", update)))]

    def _train(self, regressor: Regressor, images: Tensor, targets: Tensor) -> None:
        """Trains a network of the pool for one step, and counts it."""
        regressor.train_step(images, targets)
        self.network_steps += 1

    def _batch(self, update: int) -> Tensor:
        """Returns the indices (n,) int64 of the real images of an update, on the CPU.

        The updates go through the training set epoch by epoch, each in a random order of its own. The last batch of an
        epoch may be short.
        """
        count, batch = len(self.problem.data.train), self.batch_real
        epoch, place = divmod(update, math.ceil(count / batch))
        order = torch.randperm(count, generator=self.problem.draws("order", epoch))
        return order[place * batch : (place + 1) * batch]

    def _real_images(self, updates: int) -> int:
        """Counts the real images of the first ``updates`` updates, with short batches as they are."""
        count, batch = len(self.problem.data.train), self.batch_real
        epochs, places = divmod(updates, math.ceil(count / batch))
        return epochs * count + places * batch

    def state_dict(self) -> dict[str, Any]:
        """Returns images, targets, optimiser state and all networks."""
        pool = [regressor.state_dict() for regressor in self.pool]
        return {**super().state_dict(), "pool": pool, "network_steps": self.network_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        super().load_state_dict(state)
        self.network_steps = state["network_steps"]
        for regressor, saved in zip(self.pool, state["pool"], strict=True):
            regressor.load_state_dict(saved)


# Functions of a network, not its methods, so that one compiled function serves all networks of the pool.
def _embed(network: "Network", images: Tensor) -> Tensor:
    return network.embed(images)


def _forward(network: "Network", images: Tensor) -> Tensor:
    return network(images)
