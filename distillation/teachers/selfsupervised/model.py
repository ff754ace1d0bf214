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
    """A network without its classifier, and a head on its features."""

    def __init__(self, network: "Network", head: nn.Module, precision: str) -> None:
        super().__init__()
        self.network, self.head, self.precision = network, head, precision

    def forward(self, images: Tensor) -> Tensor:
        """Returns float32 outputs (N, D) of images (N, C, S, S)."""
        with autocast(images.device, self.precision):
            return self.head(self.network.embed(images)).float()


@dataclass(frozen=True)
class Moment:
    """The state of training at a step.

    Attributes:
        epoch: counted from 0.
        done: fraction of all steps that are complete, in [0, 1).
        draws: the generator of the step.
    """

    epoch: int
    done: float
    draws: torch.Generator


class Model(nn.Module):
    """A network that learns without labels.

    A subclass is created from the network (which it may change), the settings of its section and a precision; lightly's own
    draws come from a named generator.
    """

    @property
    def learnt(self) -> "Network":
        """The network that training leaves behind."""
        raise NotImplementedError

    @staticmethod
    def views(settings: Any, size: int) -> "list[View]":
        """Returns the Views of each image of ``size`` pixels."""
        raise NotImplementedError

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """Returns the loss () of a list of views, each (N, C, S, S) in the space of the data, at a Moment."""
        raise NotImplementedError

    def before_step(self, moment: Moment) -> None:
        """Runs between the backward pass and the optimiser's step."""


def momentum_copy(encoder: Encoder) -> Encoder:
    """Returns a copy without gradients, which ``lightly.models.utils.update_momentum`` moves towards its original."""
    return copy.deepcopy(encoder).requires_grad_(False)


def towards_one(base: float, done: float) -> float:
    """Returns a momentum that rises from ``base`` to 1 along a cosine (BYOL, section 3.3); ``done`` is in [0, 1]."""
    return 1 - (1 - base) * cosine(done)


def by_size(encoder: Encoder, views: Sequence[Tensor]) -> list[Tensor]:
    """Returns the outputs of all views in order; views of one size pass together, as SwAV and DINO published it.

    Batch norms therefore see all views of a size at once.
    """
    outputs = {}
    for size in dict.fromkeys(view.shape[2] for view in views):
        same = [i for i, view in enumerate(views) if view.shape[2] == size]
        outputs |= zip(same, encoder(torch.cat([views[i] for i in same])).chunk(len(same)), strict=True)
    return [outputs[i] for i in range(len(views))]
