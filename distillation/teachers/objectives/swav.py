"""The objective ``swav`` (Caron et al. 2020): predict from one view of an image the prototypes of another view.

Prototypes are learnt vectors, as centres of clusters are. Sinkhorn's iterations assign the views of a batch and of a
queue to them softly, so that all prototypes are used alike. Defaults are solo-learn's for CIFAR and, for training this
short, the official ones for 200 epochs in batches of 256.
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
    """The section ``swav`` of params.yaml, beside the fields of Pretraining.

    Attributes:
        blur: probability of a blur, the same in all views.
        locals: number of small views of each image, which only predict; 0: none.
        local_size: pixels of a side of a small view.
        temperature: what scores (similarities to prototypes) are divided by before softmax, in predictions.
        epsilon: weight of the entropy of the assignment; small: nearly hard.
        sinkhorn: number of iterations of Sinkhorn and Knopp.
        prototypes: their number.
        queue: number of earlier outputs of each large view over which the assignment is balanced, beside the batch; 0:
            none.
        queue_start: the epoch, counted from 0, from which the queue is used.
        frozen: number of epochs at the beginning in which the prototypes are not trained.
        dim: outputs of the head, and length of a prototype.
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
    """An encoder, prototypes, and a queue of earlier outputs.

    Args:
        network: the encoder's network.
        settings: the section of the objective.
        precision: ``fp32`` or ``bf16``; the prototypes run in float32.

    Attributes:
        queue: (2, settings.queue, dim), the latest outputs of the two large views, the newest first; at first zeros.
    """

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
        """Returns the swapped-prediction loss () of all views, and puts the outputs of the large ones into the queue.

        The assignment of each large view is predicted from all other views.
        """
        from lightly.models.utils import normalize_weight

        # Prototypes and outputs have norm 1, so that scores are cosines; the optimiser moves prototypes off the sphere.
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
        # In place: the Loop's checkpoints hold this very tensor.
        self.queue.copy_(torch.cat([outputs, self.queue], 1)[:, : self.settings.queue])

    def before_step(self, moment: Moment) -> None:
        """Removes the prototypes' gradient during the first ``frozen`` epochs."""
        if moment.epoch < self.settings.frozen:
            self.prototypes.weight.grad = None


OBJECTIVE = objective(Settings, SwAV)
