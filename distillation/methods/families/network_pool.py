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

if TYPE_CHECKING:
    from distillation.networks.build import Network


class NetworkPoolMethod(ImageMethod[MethodSettings]):
    """Images with learnt targets, moved by ridge regression on the features of networks that learn them in turn.

    A subclass sets ``targets``, ``optimizer`` and ``pool``.

    Attributes:
        pool: the networks.
        batch_real: real images of an update.
        network_steps: steps that all networks of the pool have taken.
    """

    matches_features = True
    variables = ("images", "targets")
    targets: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]: optional in ImageMethod, always set here
    pool: list[Regressor]

    def __init__(self, problem: Problem, settings: MethodSettings, batch_real: int) -> None:
        super().__init__(problem, settings)
        self.embed, self.forward = problem.compiled(_embed), problem.compiled(_forward)
        self.batch_real = batch_real
        self.network_steps = 0

    @classmethod
    def holds(cls, common: Common, settings: MethodSettings, outline: Outline) -> dict[str, float]:
        """Counts also the networks of the pool, and a chunk of the images passing through one."""
        weights, pool = outline.weights(common.network), cast("Any", settings).pool
        images = getattr(settings, "images", None) or common.ipc * outline.classes
        chunk = min(common.chunk, images) * outline.activations(common.network)
        more = {"network": weights, f"{common.name}.pool": pool * weights, "chunk": chunk}
        return {**super().holds(common, settings, outline), **more}

    def _drawn(self, update: int) -> Regressor:
        """Draws the network of an update."""
        return self.pool[int(torch.randint(len(self.pool), (1,), generator=self.problem.draws("network", update)))]

    def _train(self, regressor: Regressor, images: Tensor, targets: Tensor) -> None:
        regressor.train_step(images, targets)
        self.network_steps += 1

    def _batch(self, update: int) -> Tensor:
        """Returns the indices (n,) of the real images of an update.

        Epochs have random order; the last batch of an epoch may be short.
        """
        count, batch = len(self.problem.data.train), self.batch_real
        epoch, place = divmod(update, math.ceil(count / batch))
        order = torch.randperm(count, generator=self.problem.draws("order", epoch))
        return order[place * batch : (place + 1) * batch]

    def _real_images(self, updates: int) -> int:
        """Counts the real images of the first ``updates`` updates."""
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


def _embed(network: "Network", images: Tensor) -> Tensor:
    return network.embed(images)


def _forward(network: "Network", images: Tensor) -> Tensor:
    return network(images)
