"""Training of one network, one optimiser step at a time, so that it can stop between any two."""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from distillation.augment.dc import augment_dc
from distillation.augment.siamese import augment_batch
from distillation.augment.standard import crop_flip, resized_crop_flip
from distillation.augment.strategy import resolve
from distillation.runtime.device import autocast, compiled
from distillation.runtime.random import generator
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate

if TYPE_CHECKING:
    from distillation.training.settings import LessonSettings, RegressionSettings, TrainSettings


class Lesson(Protocol):
    """Batches with a teacher's targets, augmented already.

    Attributes:
        steps: number of batches of an epoch.
    """

    steps: int

    def __call__(self, epoch: int, place: int, /) -> tuple[Tensor, Tensor]:
        """The images (n, C, H, W) and targets (n, K) of batch ``place`` of an epoch, both counted from 0."""
        ...


class Training:
    """The training of one network, which can be interrupted and resumed between any two steps.

    Args:
        network: initialised, on its device.
        batch_of: function of indices (n,) that returns images (n, C, H, W) and targets, (n,) or (n, K), on that device;
            None with a ``lesson``.
        count: number of images of an epoch.
        loss: function of logits (n, K), float32, and targets.
        settings: with a ``lesson`` LessonSettings, else one of the other two.
        seed: seed of every draw (order, augmentation).
        name: name of the network's draws, which tells networks of one seed apart.
        flip: whether a mirrored image keeps its class.
        precision: ``fp32`` or ``bf16``.
        compile: whether the network is compiled.
        lesson: the batches in place of ``batch_of``, order and augmentation, or None.
        order_on: the device of the indices for ``batch_of``; None: that of the network.
        pad_value: (1, C, 1, 1), the value by which the augmentation crop_flip pads; None: 0.

    Attributes:
        step: number of steps completed.
        steps_per_epoch: number of batches of an epoch.
        forward: the network, compiled if so chosen.
    """

    def __init__(
        self,
        network: nn.Module,
        batch_of: Callable[[Tensor], tuple[Tensor, Tensor]] | None,
        count: int,
        loss: Callable[[Tensor, Tensor], Tensor],
        settings: "TrainSettings | RegressionSettings | LessonSettings",
        seed: int,
        name: str,
        flip: bool,
        precision: str = "fp32",
        compile: bool = False,
        lesson: Lesson | None = None,
        order_on: torch.device | None = None,
        pad_value: Tensor | None = None,
    ) -> None:
        self.network, self.batch_of, self.count = network, batch_of, count
        self.loss, self.precision = loss, precision
        self.settings: Any = settings  # LessonSettings have no batch and augment, and a lesson needs none
        self.seed, self.name, self.flip = seed, name, flip
        self.lesson, self.order_on, self.pad_value = lesson, order_on or self.device, pad_value
        self.steps_per_epoch = lesson.steps if lesson else math.ceil(count / self.settings.batch)
        self.step = 0
        self.epoch_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.epoch_hits = torch.zeros((), dtype=torch.int64, device=self.device)
        self.optimizer = _optimizer(network.parameters(), settings)
        self.forward = compiled(network) if compile else network

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    @property
    def epoch(self) -> int:
        """The number of complete epochs."""
        return self.step // self.steps_per_epoch

    @property
    def done(self) -> bool:
        """Whether all epochs are complete."""
        return self.epoch >= self.settings.epochs

    def advance(self) -> tuple[float, float] | None:
        """Takes one optimiser step.

        Returns:
            The mean loss of the epoch and its accuracy in percent, if the step completes one, else None.
        """
        place = self.step % self.steps_per_epoch
        if place == 0:
            self._begin_epoch()
        images, targets = self.lesson(self.epoch, place) if self.lesson else self._batch(place)
        with autocast(self.device, self.precision):
            logits = self.forward(images)
        loss = self.loss(logits.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.epoch_loss += loss.detach() * len(images)
        hard = targets if targets.ndim == 1 else targets.argmax(1)
        self.epoch_hits += (logits.detach().argmax(1) == hard).sum()
        self.step += 1
        if place + 1 < self.steps_per_epoch:
            return None
        return float(self.epoch_loss) / self.count, 100 * int(self.epoch_hits) / self.count

    def _begin_epoch(self) -> None:
        self.network.train()
        self._set_order()
        self.epoch_loss.zero_()
        self.epoch_hits.zero_()
        set_rate(self.optimizer, self.settings.lr * self.settings.factor(self.epoch))

    def _batch(self, place: int) -> tuple[Tensor, Tensor]:
        """The batch at a place of the epoch's order, augmented, and its targets."""
        index = self.order[place * self.settings.batch : (place + 1) * self.settings.batch]
        assert self.batch_of is not None  # there is no lesson
        images, targets = self.batch_of(index)
        return self._augmented(images), targets

    def _set_order(self) -> None:
        self.order = torch.randperm(self.count, generator=self._draws("order", self.epoch)).to(self.order_on)

    def _augmented(self, images: Tensor) -> Tensor:
        kind = self.settings.augment
        if kind == "none":
            return images
        draws = self._draws("augment", self.step)
        if kind == "crop_flip":
            return crop_flip(images, draws, self.flip, pad_value=self.pad_value)
        if kind == "rrc":
            return resized_crop_flip(images, draws, self.flip, self.settings.crop)
        if kind.startswith("dc_"):
            return augment_dc(images, kind.removeprefix("dc_"), draws)
        return augment_batch(images, resolve("auto", self.flip) if kind == "dsa" else kind, draws)

    def _draws(self, purpose: str, index: int) -> torch.Generator:
        """The generator of a purpose at an epoch or step."""
        return generator(self.seed, self.name, purpose, index)

    def state_dict(self) -> dict:
        """The state of a checkpoint: tensors and numbers by name."""
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": optimizer_state(self.optimizer),
            "lr": self.optimizer.param_groups[0]["lr"],
            "step": self.step,
            "epoch_loss": self.epoch_loss,
            "epoch_hits": self.epoch_hits,
        }

    def load_state_dict(self, state: dict) -> None:
        """Resumes from a ``state_dict``, to the same final bits."""
        self.network.load_state_dict(state["network"])
        self.step = state["step"]
        restore_optimizer(self.optimizer, state["optimizer"])
        set_rate(self.optimizer, state["lr"])
        self.epoch_loss = state["epoch_loss"].to(self.device)
        self.epoch_hits = state["epoch_hits"].to(self.device)
        self.network.train()
        self._set_order()


def _optimizer(
    parameters: Iterable[nn.Parameter], settings: "TrainSettings | RegressionSettings | LessonSettings"
) -> torch.optim.Optimizer:
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay, foreach=True)
    momentum = settings.momentum  # pyright: ignore[reportAttributeAccessIssue]  # RegressionSettings choose adamw
    return torch.optim.SGD(parameters, settings.lr, momentum, weight_decay=settings.weight_decay, foreach=True)
