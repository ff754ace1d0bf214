"""SwAV (Caron et al. 2020): predict from one view of an image the prototypes that another view was assigned to.

Defaults are solo-learn's for CIFAR and, for training this short, the official ones for 200 epochs in batches of 256.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from distillation.bounds import DEEPEST, LARGEST, Depth, Positive, Whole, Width
from distillation.teachers.selfsupervised.model import Encoder, Model, Moment, by_size
from distillation.teachers.selfsupervised.settings import KnnSettings, Pretraining, ProbeSettings, Share
from distillation.teachers.selfsupervised.teacher import objective
from distillation.teachers.selfsupervised.views import View

if TYPE_CHECKING:
    from distillation.networks.build import Network

LOCAL = 0.05, 0.14  # fraction of the image's area in a small view: --max_scale_crops of the official code


class Settings(Pretraining):
    """The settings of SwAV.

    Attributes:
        blur: probability of a blur.
        locals: number of small views.
        local_size: pixels of a side of a small view.
        temperature: of the predictions.
        epsilon: entropy weight of the assignment.
        sinkhorn: iterations of Sinkhorn and Knopp.
        prototypes: their number.
        queue: earlier outputs of each large view that the assignment is balanced over, beside the batch.
        queue_start: the epoch from which the queue is used.
        frozen: epochs in which the prototypes are not trained.
        dim: outputs of the head.
        hidden: its hidden units.
        probe: settings of the linear probe; None: the teacher has features only.
        knn: settings of the k-NN accuracy.
    """

    blur: Share
    locals: int = Field(ge=0, le=DEEPEST)
    local_size: int = Field(ge=1, le=LARGEST)
    temperature: Positive
    epsilon: Positive
    sinkhorn: Depth
    prototypes: Width
    queue: Whole
    queue_start: Whole
    frozen: Whole
    dim: Width
    hidden: Width
    probe: ProbeSettings | None
    knn: KnnSettings


class SwAV(Model):
    """An encoder, prototypes, and a queue (2, queue, dim) of earlier outputs."""

    def __init__(self, network: "Network", settings: Settings, precision: str) -> None:
        from lightly.loss import SwaVLoss
        from lightly.models.modules.heads import SwaVProjectionHead

        super().__init__()
        self.settings = settings
        head = SwaVProjectionHead(network.features_size, settings.hidden, settings.dim)
        self.online = Encoder(network, head, precision)
        self.prototypes = nn.Linear(settings.dim, settings.prototypes, bias=False)
        self.swap = SwaVLoss(settings.temperature, settings.sinkhorn, settings.epsilon)
        self.queue: Tensor
        self.register_buffer("queue", torch.zeros(2, settings.queue, settings.dim))

    @property
    def learnt(self) -> "Network":
        """The encoder's network."""
        return self.online.network

    @staticmethod
    def views(settings: Settings, size: int) -> list[View]:
        """Returns two large views and ``locals`` small ones."""
        jitter, blur = (0.8, 0.8, 0.8, 0.2), settings.blur
        large = View(size, (settings.crop, 1.0), jitter, blur)
        return [large] * 2 + [View(settings.local_size, LOCAL, jitter, blur)] * settings.locals

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """Returns the swapped-prediction loss () of all views."""
        from lightly.models.utils import normalize_weight

        normalize_weight(cast("nn.Parameter", self.prototypes.weight))
        outputs = [F.normalize(output, dim=1) for output in by_size(self.online, views)]
        scores = [self.prototypes(output) for output in outputs]
        queued = self.settings.queue and moment.epoch >= self.settings.queue_start
        loss = self.swap(scores[:2], scores[2:], [self.prototypes(each) for each in self.queue] if queued else None)
        self._enqueue(torch.stack(outputs[:2]))
        return loss.squeeze()

    @torch.no_grad()
    def _enqueue(self, outputs: Tensor) -> None:
        """Puts outputs (2, N, dim) of the large views in front of the queue."""
        self.queue.copy_(torch.cat([outputs, self.queue], 1)[:, : self.settings.queue])

    def before_step(self, moment: Moment) -> None:
        """Removes the prototypes' gradient during the first ``frozen`` epochs."""
        if moment.epoch < self.settings.frozen:
            self.prototypes.weight.grad = None


OBJECTIVE = objective(Settings, SwAV)
