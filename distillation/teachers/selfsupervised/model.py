"""What a self-supervised model is made of, and what it is asked for."""

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
    """A network of ours without its classifier, and a head on its features: images to float32 outputs."""

    def __init__(self, network: "Network", head: nn.Module, precision: str) -> None:
        super().__init__()
        self.network, self.head, self.precision = network, head, precision

    def forward(self, images: Tensor) -> Tensor:
        with autocast(images.device, self.precision):
            return self.head(self.network.embed(images)).float()


@dataclass(frozen=True)
class Moment:
    """Where training stands: the ``epoch`` (from 0), the share of it that is ``done`` (0 to 1), the step's ``draws``."""

    epoch: int
    done: float
    draws: torch.Generator


class Model(nn.Module):
    """A network that learns without labels.

    It is made of the network (which it may change), the settings of its section and a precision; what lightly draws comes
    from a named generator. ``learnt`` is the network that training leaves behind.
    """

    @property
    def learnt(self) -> "Network":
        """The network that training leaves behind."""
        raise NotImplementedError

    @staticmethod
    def views(settings: Any, size: int) -> "list[View]":
        """The Views that each image of ``size`` pixels is shown in."""
        raise NotImplementedError

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """The loss () of a list of views, each (N, C, S, S) in the space of the data, at a Moment."""
        raise NotImplementedError

    def before_step(self, moment: Moment) -> None:
        """Called between the backward pass and the optimiser's step."""


def momentum_copy(encoder: Encoder) -> Encoder:
    """A copy that no gradient changes, to follow its original by ``lightly.models.utils.update_momentum``."""
    return copy.deepcopy(encoder).requires_grad_(False)


def towards_one(base: float, done: float) -> float:
    """A momentum that rises from ``base`` to 1 along a cosine (BYOL, section 3.3)."""
    return 1 - (1 - base) * cosine(done)


def by_size(encoder: Encoder, views: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of all views in order, those of one size passed together, as SwAV and DINO published it.

    Their batch norms see all views of a size at once.
    """
    outputs = {}
    for size in dict.fromkeys(view.shape[2] for view in views):
        same = [i for i, view in enumerate(views) if view.shape[2] == size]
        outputs |= zip(same, encoder(torch.cat([views[i] for i in same])).chunk(len(same)), strict=True)
    return [outputs[i] for i in range(len(views))]
