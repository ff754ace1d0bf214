"""The objective ``moco_v2`` (He et al. 2020, Chen et al. 2020): recognise an image's other view among those of others.

A query, the output on one view, should be similar to its key, the momentum encoder's output on the other view, and not
to the queue, the keys of earlier batches. The default is the official CIFAR-10 demo: a linear head, no blur, batch
norms over an eighth of the batch, shuffled keys. Learning rate and epochs are those of SC-DD's networks.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from distillation.bounds import WIDEST, Count, Depth, Positive, Width
from distillation.runtime.errors import BadInput
from distillation.runtime.transfers import to_device
from distillation.teachers.selfsupervised.model import Encoder, Model, Moment, momentum_copy
from distillation.teachers.selfsupervised.norms import split, whole
from distillation.teachers.selfsupervised.settings import KnnSettings, Pretraining, ProbeSettings, Share
from distillation.teachers.selfsupervised.teacher import objective
from distillation.teachers.selfsupervised.views import View

if TYPE_CHECKING:
    from distillation.networks.build import Network
    from distillation.teachers.settings import PoolSettings


class Settings(Pretraining):
    """The section ``moco_v2`` of params.yaml, beside the fields of Pretraining.

    Attributes:
        blur: probability of a blur, the same in both views.
        temperature: what cosine similarities are divided by in the contrastive loss (InfoNCE).
        queue: number of keys of earlier batches, the negatives of every query.
        ema: momentum of the key encoder's weights, constant.
        dim: outputs of the head.
        hidden: its hidden units; 0: the head is linear, as in MoCo v1.
        splits: parts of a batch with batch norm statistics of their own, as on so many GPUs; it has to divide
            ``batch``.
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
    """A query encoder, its momentum key encoder and a queue of keys.

    Args:
        network: the query encoder's network; its batch norms are replaced if there are several splits.
        settings: the section of the objective.
        precision: ``fp32`` or ``bf16``.
    """

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
        """The query encoder's network, whose batch norms become ordinary ones, in place: training ends here."""
        return whole(self.online.network)

    @staticmethod
    def views(settings: Settings, size: int) -> list[View]:
        """Returns the same recipe twice, for the query and for its key."""
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
        """Returns the keys (N, dim) of images (N, C, S, S), in their order.

        They pass shuffled, so that a key is normalised together with other images than its query is, and batch norms
        leak nothing (MoCo, section 3.3).
        """
        order = to_device(torch.randperm(len(images), generator=draws), images.device)
        return self.momentum(images[order])[order.argsort()]


def check(pool: "PoolSettings", path: str) -> None:
    """Checks that the batch can be divided into ``splits`` of two images or more, which have a variance.

    Raises:
        BadInput: it cannot.
    """
    settings = cast("Settings", pool.training)
    if settings.batch % settings.splits or settings.batch < 2 * settings.splits:
        raise BadInput(
            f"{path}.moco_v2.splits is {settings.splits}, but should divide moco_v2.batch, which is {settings.batch}, into "
            "parts of two images or more."
        )


OBJECTIVE = objective(Settings, MoCo, check)
