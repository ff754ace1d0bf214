"""The objective ``dino`` (Caron et al. 2021): the student predicts its momentum teacher's output on another view.

Here the student is the network that is trained, and the momentum teacher its moving average. The momentum teacher
becomes the teacher of the pool, as in the official evaluation. Defaults are solo-learn's for CIFAR.
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
    """The section ``dino`` of params.yaml, beside the fields of Pretraining; "teacher" is the momentum teacher.

    Attributes:
        blur: probabilities of a blur in the first large view, the second, and the small ones.
        locals: number of small views of each image, which the student alone is given; 0: none.
        local_size: pixels of a side of a small view.
        temperature: what the student's outputs are divided by before softmax.
        teacher: final temperature of the teacher's outputs.
        teacher_warm: first temperature of the teacher's outputs.
        teacher_warmup: epochs over which it changes linearly, the last of them at the final temperature; 0: it is final
            from the start.
        center: momentum of the moving average (the centre) that is subtracted from the teacher's outputs.
        ema: momentum of the teacher's weights at first; it rises to 1 along half a cosine.
        frozen: number of epochs at the beginning in which the head's last layer is not trained.
        out: outputs of the head.
        dim: width of the head's bottleneck, before its last layer.
        hidden: units of each of its hidden layers.
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
    """A student and its momentum teacher, trained so that their outputs agree across views.

    Args:
        network: the network of the student, of which the teacher's is a copy.
        settings: the section of the objective.
        precision: ``fp32`` or ``bf16``.
    """

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
        """Updates the momentum teacher, then returns the cross-entropy () of its outputs and the student's.

        It is a mean over all pairs of a large view (teacher) and another view (student).
        """
        from lightly.models.utils import update_momentum

        update_momentum(self.online, self.momentum, towards_one(self.settings.ema, moment.done))
        with torch.no_grad():
            taught = by_size(self.momentum, views[:2])  # the two large views come first
        return self.agree(taught, by_size(self.online, views), self._temperature(moment.epoch))

    def _temperature(self, epoch: int) -> float:
        """Returns the momentum teacher's temperature in an epoch, counted from 0.

        The last epoch of the warm-up has the final temperature, as in DINO's code.
        """
        settings = self.settings
        # The epochs 0 to warm-up - 1 are warm-up - 1 steps apart.
        fraction = min(epoch / max(settings.teacher_warmup - 1, 1), 1) if settings.teacher_warmup else 1
        return settings.teacher_warm + fraction * (settings.teacher - settings.teacher_warm)

    def before_step(self, moment: Moment) -> None:
        """Removes the last layer's gradient during the first ``frozen`` epochs."""
        cast("DINOProjectionHead", self.online.head).cancel_last_layer_gradients(moment.epoch)


OBJECTIVE = objective(Settings, DINO)
