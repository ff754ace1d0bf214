"""DINO (Caron et al. 2021): the student predicts, from every view, the output of its momentum teacher on another view.

Defaults are solo-learn's for CIFAR. The momentum teacher is the network that remains, as in the official evaluation.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from pydantic import Field
from torch import Tensor

from distillation.bounds import DEEPEST, LARGEST, WIDEST, Positive, Whole, Width
from distillation.teachers.selfsupervised.model import Encoder, Model, Moment, by_size, momentum_copy, towards_one
from distillation.teachers.selfsupervised.settings import KnnSettings, Pretraining, ProbeSettings, Share
from distillation.teachers.selfsupervised.teacher import objective
from distillation.teachers.selfsupervised.views import View, asymmetric

if TYPE_CHECKING:
    from lightly.models.modules.heads import DINOProjectionHead

    from distillation.networks.build import Network

LOCAL = 0.05, 0.4  # fraction of the image's area in a small view: --local_crops_scale of the official code


class Settings(Pretraining):
    """The settings of DINO.

    Attributes:
        blur: probability of a blur in the first large view, the second, and the small ones.
        locals: number of small views.
        local_size: pixels of a side of a small view.
        temperature: of the student.
        teacher: final temperature of the teacher.
        teacher_warm: first temperature of the teacher.
        teacher_warmup: epochs over which it changes linearly, the last at the final temperature.
        center: momentum of the centre that is subtracted from the teacher's outputs.
        ema: momentum of the teacher's weights at first; it rises to 1.
        frozen: epochs in which the last layer is not trained.
        out: outputs of the head.
        dim: bottleneck of the head.
        hidden: its hidden units.
        probe: settings of the linear probe; None: the teacher has features only.
        knn: settings of the k-NN accuracy.
    """

    blur: list[Share] = Field(min_length=3, max_length=3)
    locals: int = Field(ge=0, le=DEEPEST)
    local_size: int = Field(ge=1, le=LARGEST)
    temperature: Positive
    teacher: Positive
    teacher_warm: Positive
    teacher_warmup: Whole
    center: float = Field(ge=0, lt=1)
    ema: float = Field(ge=0, le=1)
    frozen: Whole
    out: int = Field(ge=2, le=WIDEST)
    dim: Width
    hidden: Width
    probe: ProbeSettings | None
    knn: KnnSettings


class DINO(Model):
    """A student and its momentum teacher, whose outputs agree across views."""

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
        """The momentum teacher's network."""
        return self.momentum.network

    @staticmethod
    def views(settings: Settings, size: int) -> list[View]:
        """Returns two large views and ``locals`` small ones."""
        large = asymmetric(size, settings.crop, settings.blur[:2])
        return large + [View(settings.local_size, LOCAL, large[0].jitter, settings.blur[2])] * settings.locals

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """Updates the momentum teacher, then returns the cross-entropy () between its outputs and the student's."""
        from lightly.models.utils import update_momentum

        update_momentum(self.online, self.momentum, towards_one(self.settings.ema, moment.done))
        with torch.no_grad():
            taught = by_size(self.momentum, views[:2])
        return self.agree(taught, by_size(self.online, views), self._temperature(moment.epoch))

    def _temperature(self, epoch: int) -> float:
        """Returns the teacher's temperature in an epoch; the last of the warm-up has the final one, as in DINO's code."""
        settings = self.settings
        fraction = min(epoch / max(settings.teacher_warmup - 1, 1), 1) if settings.teacher_warmup else 1
        return settings.teacher_warm + fraction * (settings.teacher - settings.teacher_warm)

    def before_step(self, moment: Moment) -> None:
        """Removes the last layer's gradient during the first ``frozen`` epochs."""
        cast("DINOProjectionHead", self.online.head).cancel_last_layer_gradients(moment.epoch)


OBJECTIVE = objective(Settings, DINO)
