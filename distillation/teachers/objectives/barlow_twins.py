"""The objective ``barlow_twins`` (Zbontar et al. 2021): outputs of two views agree, without redundancy.

Each dimension of the output is correlated between the two views, and different dimensions are not.

Defaults are solo-learn's for CIFAR, of which KRR-ST's targets seem to be (a ResNet18BN_P2_He, whose stem is
solo-learn's).
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
    """The section ``barlow_twins`` of params.yaml, beside the fields of Pretraining.

    Attributes:
        blur: probabilities of a blur in the first view and in the second.
        off_diagonal: weight of the squared off-diagonal entries of the cross-correlation (the redundancy term, lambda
            in equation 1); ``lambda`` in params.yaml.
        scale: factor of the whole loss.
        dim: outputs of the projector.
        hidden: units of each of its hidden layers.
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
    """An encoder trained so that the cross-correlation of its outputs on two views is the identity (equation 1).

    Args:
        network: the network that learns.
        settings: the section of the objective.
        precision: ``fp32`` or ``bf16``.
    """

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
        """Returns the two asymmetric views of BYOL: the second alone may be solarized."""
        return asymmetric(size, settings.crop, settings.blur)

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """Returns the scaled loss () of two views, each (N, C, S, S); ``moment`` is not used."""
        return self.scale * self.redundancy(*map(self.online, views))


OBJECTIVE = objective(Settings, BarlowTwins)
