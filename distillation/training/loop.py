"""Training of one network on batches with targets, one optimiser step at a time, so that it can stop between any two.

Random numbers are drawn from generators that are named by the epoch or step, never from one that runs through the whole
training. So a checkpoint needs no generator's state, and a resumed run ends with the same bits.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from distillation.augment.dc import augment_dc
from distillation.augment.siamese import augment_batch
from distillation.augment.standard import crop_flip, resized_crop_flip
from distillation.augment.strategy import resolve
from distillation.runtime.device import autocast
from distillation.runtime.graphs import begin_step, graphed
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate

if TYPE_CHECKING:
    from distillation.training.settings import LessonSettings, RegressionSettings, TrainSettings


class Lesson(Protocol):
    """The protocol of batches that come augmented and with a teacher's logits as targets (``online`` and ``fkd``).

    Attributes:
        steps: number of batches of an epoch.
    """

    steps: int

    def __call__(self, epoch: int, place: int, /) -> tuple[Tensor, Tensor]:
        """Returns images (n, C, H, W) and targets (n, K) of the batch ``place`` of ``epoch``, both counted from 0."""
        ...


class Training:
    """The training of one network, which can be interrupted and resumed between any two steps.

    The caller calls ``advance`` until ``done``, and may store ``state_dict`` between any two calls. A batch is made in
    one of two ways: indices in a random order go through ``batch_of`` and the augmentation of the settings, or a
    ``lesson`` gives finished batches. K is the number of classes, or the length of the label vectors.

    Args:
        network: an initialised module from images to logits, on its device; trained in place.
        batch_of: function of indices (n,) int64 that returns images (n, C, H, W) in the network's space and their
            targets on the device of the network, labels (n,) int64 or vectors (n, K) float32; None with a ``lesson``.
        count: number of images of an epoch.
        loss: function of logits (n, K) float32 and targets that returns a mean over the batch, ().
        settings: LessonSettings with a ``lesson``, else TrainSettings or RegressionSettings.
        seed: seed of all random numbers (order, augmentation).
        name: prefix of the names of their generators, which tells networks of one seed apart.
        flip: whether a mirrored image keeps its class; False leaves mirroring out of ``dsa``, ``crop_flip`` and
            ``rrc``.
        precision: ``fp32``, or ``bf16`` for the network under autocast; the loss is float32 in both.
        compile: whether the network runs through torch.compile.
        lesson: the batches, or None.
        order_on: the device of the indices for ``batch_of``; None: that of the network. It is the CPU for images that
            are decoded from files (see ``indices_on``).
        pad_value: (1, C, 1, 1), the value by which the augmentation crop_flip pads; None: 0.

    Attributes:
        network: the network of the arguments; its weights are those after ``step`` steps.
        step: number of steps completed.
        steps_per_epoch: number of batches of an epoch, the last of which may have fewer images.
        forward: the network, compiled if so chosen.
        compile: that of the arguments.
        optimizer: the optimiser, whose learning rate is set at the first step of each epoch.
        epoch_loss: sum of the losses of the images of the running epoch, () float64 on the device.
        epoch_hits: number of these images whose prediction was correct, () int64 on the device.
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
        self.compile = compile
        self.optimizer = optimizer_of(network.parameters(), settings)
        self.forward = graphed(network, self.device) if compile else network

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

    def advance(self) -> tuple[Tensor, Tensor] | None:
        """Takes one optimiser step.

        Returns:
            None, unless the step completes an epoch; then (loss, accuracy), both means over the images of the epoch as
            the network saw them: augmented, in training mode, with the weights of that step. The accuracy is in
            percent; a target vector counts as the class of its greatest entry. Both are () float64 on the device: to
            read one waits for it, and an epoch may be one step.
        """
        place = self.step % self.steps_per_epoch
        if place == 0:
            self.begin_epoch()
        begin_step(self.device, self.compile)
        images, targets = self.batch(place)
        images = self.augmented(images)
        with autocast(self.device, self.precision):
            logits = self.forward(images)
        loss = self.loss(logits.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        # Sums stay on the device: reading a number would make every step wait.
        self.epoch_loss += loss.detach() * len(images)
        hard = targets if targets.ndim == 1 else targets.argmax(1)
        self.epoch_hits += (logits.detach().argmax(1) == hard).sum()
        self.step += 1
        if place + 1 < self.steps_per_epoch:
            return None
        return self.epoch_loss / self.count, 100 * self.epoch_hits.double() / self.count

    @property
    def rate(self) -> float:
        """The learning rate of the running epoch."""
        return self.settings.lr * self.settings.factor(self.epoch)

    def begin_epoch(self) -> None:
        """Prepares the first step of an epoch: mode, order, sums and learning rate."""
        self.network.train()  # a test between two epochs leaves it in eval mode
        self.set_order()
        self.epoch_loss.zero_()
        self.epoch_hits.zero_()
        set_rate(self.optimizer, self.rate)

    def batch(self, place: int) -> tuple[Tensor, Tensor]:
        """Returns the images (n, C, H, W) and targets at a place of the running epoch, counted from 0.

        ``augmented`` has yet to augment the images.
        """
        if self.lesson:
            return self.lesson(self.epoch, place)
        assert self.batch_of is not None
        return self.batch_of(self.order[place * self.settings.batch : (place + 1) * self.settings.batch])

    def set_order(self) -> None:
        """Draws the order of the images in the running epoch."""
        order = torch.randperm(self.count, generator=self.draws("order", self.epoch))
        self.order = to_device(order, self.order_on)

    @property
    def siamese(self) -> str:
        """The siamese strategy by which a batch is augmented, or an empty text if it is augmented in another way."""
        kind = "none" if self.lesson else self.settings.augment
        if kind in ("none", "crop_flip", "rrc") or kind.startswith("dc_"):
            return ""
        return resolve("auto", self.flip) if kind == "dsa" else kind

    def augmented(self, images: Tensor) -> Tensor:
        """Returns the images of the batch of this step as the network sees them; those of a lesson are so already."""
        kind = "none" if self.lesson else self.settings.augment
        if kind == "none":
            return images
        draws = self.draws("augment", self.step)
        if kind == "crop_flip":
            return crop_flip(images, draws, self.flip, pad_value=self.pad_value)
        if kind == "rrc":
            return resized_crop_flip(images, draws, self.flip, self.settings.crop)
        if kind.startswith("dc_"):
            return augment_dc(images, kind.removeprefix("dc_"), draws)
        return augment_batch(images, self.siamese, draws)

    def draws(self, purpose: str, index: int) -> torch.Generator:
        """Returns the generator of a purpose at an epoch or step."""
        return generator(self.seed, self.name, purpose, index)

    def state_dict(self) -> dict:
        """Returns the state of a checkpoint: tensors (not copied) and numbers by name."""
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": optimizer_state(self.optimizer),
            # Not computed anew on resuming: set at the start of an epoch, it holds to its end.
            "lr": self.optimizer.param_groups[0]["lr"],
            "step": self.step,
            "epoch_loss": self.epoch_loss,
            "epoch_hits": self.epoch_hits,
        }

    def load_state_dict(self, state: dict) -> None:
        """Restores what ``state_dict`` returned, so that training ends with the same bits as without a break."""
        self.network.load_state_dict(state["network"])
        self.step = state["step"]
        restore_optimizer(self.optimizer, state["optimizer"])
        set_rate(self.optimizer, state["lr"])
        self.epoch_loss = state["epoch_loss"].to(self.device)
        self.epoch_hits = state["epoch_hits"].to(self.device)
        self.network.train()
        self.set_order()  # the order of a running epoch is drawn again, by the epoch's generator


def optimizer_of(
    parameters: Iterable[nn.Parameter], settings: "TrainSettings | RegressionSettings | LessonSettings"
) -> torch.optim.Optimizer:
    """Creates the optimiser of the settings for a network's parameters."""
    # foreach: a few kernels for all parameters together instead of several for each.
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay, foreach=True)
    momentum = settings.momentum  # pyright: ignore[reportAttributeAccessIssue]  # RegressionSettings choose adamw
    return torch.optim.SGD(parameters, settings.lr, momentum, weight_decay=settings.weight_decay, foreach=True)
