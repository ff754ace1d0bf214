"""The objective ``moco_v3`` (Chen, Xie & He 2021): recognise an image's other view among those of the batch.

A query, the predictor's output on one view, should be similar to its key, the momentum encoder's output on the other
view, and not to the keys of other images. Each of the two views is query and key. Defaults are solo-learn's for CIFAR.
As in the official code for a ResNet, projector and predictor have two layers, and the predictor does not end with a
batch norm.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from distillation.bounds import Positive, Width
from distillation.teachers.selfsupervised.model import Encoder, Model, Moment, momentum_copy, towards_one
from distillation.teachers.selfsupervised.settings import KnnSettings, Pretraining, ProbeSettings, Share
from distillation.teachers.selfsupervised.teacher import objective
from distillation.teachers.selfsupervised.views import View, asymmetric

if TYPE_CHECKING:
    from distillation.networks.build import Network


class Settings(Pretraining):
    """The section ``moco_v3`` of params.yaml, beside the fields of Pretraining.

    Attributes:
        blur: probabilities of a blur in the first view and in the second.
        temperature: what cosine similarities are divided by in the contrastive loss (InfoNCE).
        ema: momentum of the key encoder's weights at first; it rises to 1 along half a cosine.
        dim: outputs of projector and predictor.
        hidden: units of the hidden layer of each.
        probe: settings of the linear probe; None: the teacher has features only.
        knn: settings of the k-NN accuracy.
    """

    blur: list[Share] = Field(min_length=2, max_length=2)
    temperature: Positive
    ema: float = Field(ge=0, le=1)
    dim: Width
    hidden: Width
    probe: ProbeSettings | None
    knn: KnnSettings


class MoCo(Model):
    """A query encoder with a predictor, and its momentum key encoder, which has none.

    Args:
        network: the query encoder's network.
        settings: the section of the objective.
        precision: ``fp32`` or ``bf16``; the predictor runs in float32.
    """

    def __init__(self, network: "Network", settings: Settings, precision: str) -> None:
        super().__init__()
        self.settings = settings
        hidden, dim = settings.hidden, settings.dim
        self.online = Encoder(network, _perceptron(network.features_size, hidden, dim), precision)
        self.momentum = momentum_copy(self.online)
        self.predictor = _perceptron(dim, hidden, dim, normed=False)

    @property
    def learnt(self) -> "Network":
        """The query encoder's network."""
        return self.online.network

    @staticmethod
    def views(settings: Settings, size: int) -> list[View]:
        """Returns the two asymmetric views of BYOL: the second alone may be solarized."""
        return asymmetric(size, settings.crop, settings.blur)

    def forward(self, views: Sequence[Tensor], moment: Moment) -> Tensor:
        """Updates the key encoder, then returns the sum () of the contrastive losses in both directions."""
        from lightly.models.utils import update_momentum

        update_momentum(self.online, self.momentum, towards_one(self.settings.ema, moment.done))
        queries = [self.predictor(self.online(view)) for view in views]
        with torch.no_grad():
            keys = [self.momentum(view) for view in views]
        return self._contrast(queries[0], keys[1]) + self._contrast(queries[1], keys[0])

    def _contrast(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Returns the contrastive loss () of queries (N, dim) and keys (N, dim) in the same order.

        It is the cross-entropy of each query's own key among all keys, times twice the temperature (algorithm 1).
        """
        temperature = self.settings.temperature
        logits = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / temperature
        return 2 * temperature * F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _perceptron(inside: int, hidden: int, outside: int, normed: bool = True) -> nn.Module:
    """Builds two linear layers without biases, with batch norm and ReLU between them.

    Args:
        inside: inputs.
        hidden: units between the layers.
        outside: outputs.
        normed: whether a batch norm without weights ends them.
    """
    from lightly.models.modules.heads import ProjectionHead

    return ProjectionHead(
        [
            (inside, hidden, nn.BatchNorm1d(hidden), nn.ReLU()),
            (hidden, outside, nn.BatchNorm1d(outside, affine=False) if normed else None, None, False),
        ]
    )


OBJECTIVE = objective(Settings, MoCo)
