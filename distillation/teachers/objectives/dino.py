"""DINO (Caron et al. 2021): say of every view what the momentum copy, the teacher, says of another view of the image.

Defaults are solo-learn's for CIFAR. The network that remains is the teacher, as in the official evaluation.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from pydantic import Field
from torch import Tensor

from distillation.teachers.selfsupervised.model import Encoder, Model, Moment, by_size, momentum_copy, towards_one
from distillation.teachers.selfsupervised.settings import KnnSettings, Pretraining, ProbeSettings, Share
from distillation.teachers.selfsupervised.teacher import objective
from distillation.teachers.selfsupervised.views import View, asymmetric

if TYPE_CHECKING:
    from lightly.models.modules.heads import DINOProjectionHead

    from distillation.networks.build import Network

LOCAL = 0.05, 0.4  # of the image's area in a small view


class Settings(Pretraining):
    """``locals`` small views of ``local_size`` pixels join the two large ones; ``blur`` is that of the first large view,
    the second and the small ones.

    The teacher's temperature goes from ``teacher_warm`` to ``teacher`` in ``teacher_warmup`` epochs; ``center`` is the
    momentum of what is taken off its outputs, ``ema`` that of its weights, which rises to 1. The last layer rests for
    ``frozen`` epochs.
    """

    blur: list[Share] = Field(min_length=3, max_length=3)
    locals: int = Field(ge=0)
    local_size: int = Field(ge=1)
    temperature: float = Field(gt=0)
    teacher: float = Field(gt=0)
    teacher_warm: float = Field(gt=0)
    teacher_warmup: int = Field(ge=0)
    center: float = Field(ge=0, lt=1)
    ema: float = Field(ge=0, le=1)
    frozen: int = Field(ge=0)
    out: int = Field(ge=2)
    dim: int = Field(ge=1)
    hidden: int = Field(ge=1)
    probe: ProbeSettings | None
    knn: KnnSettings


class DINO(Model):
    def __init__(self, network: "Network", settings: Settings, precision: str) -> None:
        from lightly.loss import DINOLoss
        from lightly.models.modules.heads import DINOProjectionHead

        super().__init__()
        self.settings = settings
        sizes = network.features_size, settings.hidden, settings.dim, settings.out
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # lightly's normalised weights are of torch's older kind
            head = DINOProjectionHead(*sizes, batch_norm=True, freeze_last_layer=settings.frozen)
        self.online = Encoder(network, head, precision)
        self.momentum = momentum_copy(self.online)
        self.agree = DINOLoss(settings.out, student_temp=settings.temperature, center_momentum=settings.center)

    @property
    def learnt(self) -> "Network":
        return self.momentum.network

    @staticmethod
    def views(settings: Settings, size: int) -> list[View]:
        large = asymmetric(size, settings.crop, settings.blur[:2])
        return large + [View(settings.local_size, LOCAL, large[0].jitter, settings.blur[2])] * settings.locals

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        from lightly.models.utils import update_momentum

        update_momentum(self.online, self.momentum, towards_one(self.settings.ema, moment.done))
        with torch.no_grad():
            taught = by_size(self.momentum, views[:2])
        return self.agree(taught, by_size(self.online, views), self._temperature(moment.epoch))

    def _temperature(self, epoch: int) -> float:
        settings = self.settings
        share = min(epoch / settings.teacher_warmup, 1) if settings.teacher_warmup else 1
        return settings.teacher_warm + share * (settings.teacher - settings.teacher_warm)

    def before_step(self, moment: Moment) -> None:
        cast("DINOProjectionHead", self.online.head).cancel_last_layer_gradients(moment.epoch)


OBJECTIVE = objective(Settings, DINO)
