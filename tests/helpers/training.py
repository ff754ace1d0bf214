"""A network trained for a few steps on images that it can learn."""

from collections.abc import Callable

from torch import Tensor

from distillation.networks.build import build
from distillation.runtime.random import generator
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import TrainSettings
from tests.helpers.data import CLASSES, ramp_set

SETTINGS = {
    "epochs": 6,
    "batch": 8,
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "milestones": [2, 0.75],
    "decay": 0.1,
    "augment": "none",
}
# students on hard labels: a section like evaluate.standard.hard
HARD = {**SETTINGS, "loss": "ce", "epochs": 3, "batch": 4, "milestones": [2]}


def training(
    settings: dict | None = None, loss: str = "ce", targets: Tensor | None = None, seed: int = 0, count: int = 20
) -> tuple[Training, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """(a Training of the first ``count`` images of `ramp_set`, its function from indices to a batch)."""
    data = ramp_set()
    network = build("ConvNetW4D1BN", 1, 8, CLASSES, generator(seed, "network"))
    wanted = data.train.labels if targets is None else targets

    def batch_of(index: Tensor) -> tuple[Tensor, Tensor]:
        return data.encode(data.train.images[index]), wanted[index]

    train = TrainSettings(**{**SETTINGS, **(settings or {})})
    return Training(network, batch_of, count, loss_of(loss), train, seed, "t", False), batch_of
