"""Barlow Twins (Zbontar et al. 2021): outputs of two views agree in every dimension, and no two dimensions agree.

Defaults are solo-learn's for CIFAR, of which KRR-ST's targets seem to be (a ResNet18BN_P2_He, whose stem is solo-learn's).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from distillation.bounds import GREATEST, WIDEST, Positive, Width
from distillation.teachers.selfsupervised.model import Encoder, Model, Moment
from distillation.teachers.selfsupervised.settings import KnnSettings, Pretraining, ProbeSettings, Share
from distillation.teachers.selfsupervised.teacher import objective
from distillation.teachers.selfsupervised.views import View, asymmetric

if TYPE_CHECKING:
    from distillation.networks.build import Network


class Settings(Pretraining):
    """The settings of Barlow Twins.

    Attributes:
        blur: probability of a blur in the first view and in the second.
        off_diagonal: weight of the redundancy term; ``lambda`` in params.yaml.
        scale: factor of the whole loss.
        dim: outputs of the projector.
        hidden: its hidden units.
        probe: settings of the linear probe; None: the teacher has features only.
        knn: settings of the k-NN accuracy.
    """

    blur: list[Share] = Field(min_length=2, max_length=2)
    off_diagonal: float = Field(gt=0, le=GREATEST, alias="lambda")
    scale: Positive
    dim: int = Field(ge=2, le=WIDEST)
    hidden: Width
    probe: ProbeSettings | None
    knn: KnnSettings


class BarlowTwins(Model):
    """An encoder whose outputs on two views have the identity as their cross-correlation (equation 1)."""

    def __init__(self, network: "Network", settings: Settings, precision: str) -> None:
        from lightly.loss import BarlowTwinsLoss
        from lightly.models.modules.heads import BarlowTwinsProjectionHead

        super().__init__()
        self.scale = settings.scale
        head = BarlowTwinsProjectionHead(network.features_size, settings.hidden, settings.dim)
        self.online = Encoder(network, head, precision)
        self.redundancy = BarlowTwinsLoss(settings.off_diagonal)

    @property
    def learnt(self) -> "Network":
        """The encoder's network."""
        return self.online.network

    @staticmethod
    def views(settings: Settings, size: int) -> list[View]:
        """Returns the two asymmetric views of BYOL."""
        return asymmetric(size, settings.crop, settings.blur)

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """Returns the scaled redundancy loss () of two views."""
        return self.scale * self.redundancy(*map(self.online, views))


OBJECTIVE = objective(Settings, BarlowTwins)
