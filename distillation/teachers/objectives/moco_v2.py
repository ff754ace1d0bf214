"""MoCo v2 (He et al. 2020, Chen et al. 2020): recognise the other view of an image among a queue of other images' views.

The default is the official CIFAR-10 demo: a linear head, no blur, batch norms over an eighth of the batch, shuffled keys.
Learning rate and epochs are those of SC-DD's networks.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from distillation.bounds import WIDEST, Count, Depth, Positive, Width
from distillation.runtime.errors import BadInput
from distillation.teachers.selfsupervised.model import Encoder, Model, Moment, momentum_copy
from distillation.teachers.selfsupervised.norms import split, whole
from distillation.teachers.selfsupervised.settings import KnnSettings, Pretraining, ProbeSettings, Share
from distillation.teachers.selfsupervised.teacher import objective
from distillation.teachers.selfsupervised.views import View

if TYPE_CHECKING:
    from distillation.networks.build import Network
    from distillation.teachers.settings import PoolSettings


class Settings(Pretraining):
    """The settings of MoCo v2.

    Attributes:
        blur: probability of a blur.
        temperature: of the contrastive loss.
        queue: number of negative keys.
        ema: momentum of the key encoder.
        dim: outputs of the head.
        hidden: its hidden units; 0: the head is linear.
        splits: parts of a batch with batch statistics of their own.
        probe: settings of the linear probe; None: the teacher has features only.
        knn: settings of the k-NN accuracy.
    """

    blur: Share
    temperature: Positive
    queue: Count
    ema: float = Field(ge=0, lt=1)
    dim: Width
    hidden: int = Field(ge=0, le=WIDEST)
    splits: Depth
    probe: ProbeSettings | None
    knn: KnnSettings


class MoCo(Model):
    """A query encoder, its momentum key encoder and a queue of keys."""

    def __init__(self, network: "Network", settings: Settings, precision: str) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import MoCoProjectionHead

        super().__init__()
        self.settings, features = settings, network.features_size
        if settings.hidden:
            head = MoCoProjectionHead(features, settings.hidden, settings.dim)
        else:
            head = nn.Linear(features, settings.dim)
        if settings.splits > 1:
            network = split(network, settings.splits)
        self.online = Encoder(network, head, precision)
        self.momentum = momentum_copy(self.online)
        self.contrast = NTXentLoss(settings.temperature, (settings.queue, settings.dim))

    @property
    def learnt(self) -> "Network":
        """The query encoder's network, with ordinary batch norms."""
        return whole(self.online.network)

    @staticmethod
    def views(settings: Settings, size: int) -> list[View]:
        """Returns two views of one recipe."""
        return [View(size, (settings.crop, 1.0), (0.4, 0.4, 0.4, 0.1), settings.blur)] * 2

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """Updates the key encoder, then returns the InfoNCE loss () of two views."""
        from lightly.models.utils import update_momentum

        update_momentum(self.online, self.momentum, self.settings.ema)
        queries = self.online(views[0])
        with torch.no_grad():
            keys = self._keys(views[1], moment.draws)
        return self.contrast(queries, keys)

    def _keys(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Returns the keys (N, dim) of images that were shuffled, so that batch norms leak nothing (MoCo, section 3.3)."""
        order = torch.randperm(len(images), generator=draws).to(images.device)
        return self.momentum(images[order])[order.argsort()]


def check(pool: "PoolSettings", path: str) -> None:
    """Raises BadInput if the batch cannot be divided into ``splits`` of two images or more, which have a variance."""
    settings = cast("Settings", pool.training)
    if settings.batch % settings.splits or settings.batch < 2 * settings.splits:
        raise BadInput(
            f"{path}.moco_v2.splits is {settings.splits}, but should divide moco_v2.batch, which is {settings.batch}, into "
            "parts of two images or more."
        )


OBJECTIVE = objective(Settings, MoCo, check)
