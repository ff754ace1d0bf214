"""Training one network, a step at a time, so that it can stop between any two."""

import math

import torch

from distillation.augment.dc import augment_dc
from distillation.augment.siamese import augment_batch
from distillation.augment.standard import crop_flip
from distillation.augment.strategy import resolve
from distillation.runtime.device import autocast, compiled
from distillation.runtime.random import generator
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate


class Training:
    """One network on its way through its epochs.

    Args:
        network: initialised, on its device.
        batch_of: function of an index tensor (n,) that gives images (n, C, H, W) and targets on that device.
        count: how many images there are.
        loss: function of logits and targets.
        settings: TrainSettings, or with a lesson LessonSettings.
        seed: names every draw (order, augmentation), with ``name``.
        flip: whether a mirrored image keeps its class.
        precision, compile: ``fp32`` or ``bf16``; whether the network is compiled.
        order_on: the device of the indices that ``batch_of`` is given; None: that of the network.
        lesson: None, or function of epoch and place in it that gives the batches in place of ``batch_of``, order and
            augmentation; it says how many there are in an epoch as ``steps``.
        black: (1, C, 1, 1), what the augmentation crop_flip pads with; None: 0.
    """

    def __init__(
        self, network, batch_of, count, loss, settings, seed, name, flip, precision="fp32", compile=False, lesson=None,
        order_on=None, black=None,
    ):  # fmt: skip
        self.network, self.batch_of, self.count = network, batch_of, count
        self.loss, self.settings, self.precision = loss, settings, precision
        self.seed, self.name, self.flip = seed, name, flip
        self.lesson, self.order_on, self.black = lesson, order_on or self.device, black
        self.steps_per_epoch = lesson.steps if lesson else math.ceil(count / settings.batch)
        self.step = 0
        self.epoch_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.epoch_hits = torch.zeros((), dtype=torch.int64, device=self.device)
        self.optimizer = _optimizer(network.parameters(), settings)
        self.forward = compiled(network) if compile else network

    @property
    def device(self):
        return next(self.network.parameters()).device

    @property
    def epoch(self):
        """How many epochs are complete."""
        return self.step // self.steps_per_epoch

    @property
    def done(self):
        return self.epoch >= self.settings.epochs

    def advance(self):
        """One optimiser step. Returns (loss, accuracy) of the epoch it completes, else None."""
        place = self.step % self.steps_per_epoch
        if place == 0:
            self._begin_epoch()
        images, targets = self.lesson(self.epoch, place) if self.lesson else self._drawn(place)
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

    def _begin_epoch(self):
        self.network.train()
        self._set_order()
        self.epoch_loss.zero_()
        self.epoch_hits.zero_()
        set_rate(self.optimizer, self.settings.lr * self.settings.factor(self.epoch))

    def _drawn(self, place):
        """The batch at a place of the epoch's order, augmented, and its targets."""
        index = self.order[place * self.settings.batch : (place + 1) * self.settings.batch]
        images, targets = self.batch_of(index)
        return self._augmented(images), targets

    def _set_order(self):
        self.order = torch.randperm(self.count, generator=self._draws("order", self.epoch)).to(self.order_on)

    def _augmented(self, images):
        kind = self.settings.augment
        if kind == "none":
            return images
        draws = self._draws("augment", self.step)
        if kind == "crop_flip":
            return crop_flip(images, draws, self.flip, beyond=self.black)
        if kind.startswith("dc_"):
            return augment_dc(images, kind.removeprefix("dc_"), draws)
        return augment_batch(images, resolve("auto", self.flip) if kind == "dsa" else kind, draws)

    def _draws(self, purpose, index):
        return generator(self.seed, self.name, purpose, index)

    def state_dict(self):
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": optimizer_state(self.optimizer),
            "lr": self.optimizer.param_groups[0]["lr"],
            "step": self.step,
            "epoch_loss": self.epoch_loss,
            "epoch_hits": self.epoch_hits,
        }

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.step = state["step"]
        restore_optimizer(self.optimizer, state["optimizer"])
        set_rate(self.optimizer, state["lr"])
        self.epoch_loss = state["epoch_loss"].to(self.device)
        self.epoch_hits = state["epoch_hits"].to(self.device)
        self.network.train()
        self._set_order()


def _optimizer(parameters, settings):
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay, foreach=True)
    return torch.optim.SGD(parameters, settings.lr, settings.momentum, weight_decay=settings.weight_decay, foreach=True)
