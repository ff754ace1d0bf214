"""The interface of self-supervised models, and the parts that they are built from."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distillation.runtime.device import autocast
from distillation.training.schedules import cosine

if TYPE_CHECKING:
    from distillation.networks.build import Network
    from distillation.teachers.selfsupervised.views import View


class Encoder(nn.Module):
    """A network, whose classifier is not used, and a head on its features.

    Args:
        network: the network that is to learn features.
        head: module from features (N, F) to outputs (N, D), which is discarded after training.
        precision: ``fp32``, or ``bf16`` for both under autocast.
    """

    def __init__(self, network: "Network", head: nn.Module, precision: str) -> None:
        super().__init__()
        self.network, self.head, self.precision = network, head, precision

    def forward(self, images: Tensor) -> Tensor:
        """Returns float32 outputs (N, D) of images (N, C, S, S)."""
        with autocast(images.device, self.precision):
            return self.head(self.network.embed(images)).float()


@dataclass(frozen=True)
class Moment:
    """How far training is at a step; a Loop gives it to its Model, whose schedules depend on it.

    Attributes:
        epoch: the running epoch, counted from 0.
        done: fraction of the steps of the whole training that are complete, in [0, 1).
        draws: a CPU generator of this step alone, for random numbers of the model's own.
    """

    epoch: int
    done: float
    draws: torch.Generator


class Model(nn.Module):
    """The base class of the learner of a self-supervised objective: a network, its heads and copies, and their loss.

    ``teacher.make`` creates a subclass with three arguments: a freshly initialised network (which the subclass may
    change in place), the settings of its section, and the precision. The caller seeds the global generator meanwhile,
    from which the heads of lightly draw their weights. All trainable parameters of the Model are given to one
    optimiser.
    """

    @property
    def learnt(self) -> "Network":
        """The network that becomes the teacher; read once, after training, as the property may change the model."""
        raise NotImplementedError

    @staticmethod
    def views(settings: Any, size: int) -> "list[View]":
        """Returns the recipes of the views of each image.

        Args:
            settings: the settings of the objective's section.
            size: pixels of a side of the images.
        """
        raise NotImplementedError

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """Returns the loss of a batch of N images, and moves momentum copies and queues on.

        Args:
            views: for each recipe of ``views`` its view of all images, (N, C, S, S) in the space of the data, where S is
                the size of the recipe.
            moment: how far training is.

        Returns:
            () float32.
        """
        raise NotImplementedError

    def before_step(self, moment: Moment) -> None:
        """Changes gradients between the backward pass and the optimiser's step; by default nothing."""


def momentum_copy(encoder: Encoder) -> Encoder:
    """Returns a deep copy without gradients; lightly's ``update_momentum`` moves it towards its original."""
    return copy.deepcopy(encoder).requires_grad_(False)


def towards_one(base: float, done: float) -> float:
    """Returns a momentum that rises from ``base`` to 1 along half a cosine (BYOL, section 3.3); ``done``: 0 to 1."""
    return 1 - (1 - base) * cosine(done)


def by_size(encoder: Encoder, views: Sequence[Tensor]) -> list[Tensor]:
    """Passes all views of one size through an encoder together, as SwAV and DINO published it.

    Batch norms therefore see all views of a size as one batch.

    Args:
        encoder: the encoder, in any mode.
        views: (N, C, S, S) each, square, of one or several sizes S.

    Returns:
        The outputs (N, D) of each view, in the order of ``views``.
    """
    outputs = {}
    for size in dict.fromkeys(view.shape[2] for view in views):
        same = [i for i, view in enumerate(views) if view.shape[2] == size]
        outputs |= zip(same, encoder(torch.cat([views[i] for i in same])).chunk(len(same)), strict=True)
    return [outputs[i] for i in range(len(views))]
