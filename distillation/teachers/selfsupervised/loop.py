"""Training of a self-supervised model, one optimiser step at a time, so that it can be interrupted between any two.

It differs from ``training.loop.Training`` in what a step needs: several views of each image, no labels, and a learning
rate that changes with every step.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from distillation.data.indexed import IndexedImages, indices_on
from distillation.runtime.device import forget
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.teachers.selfsupervised.model import Encoder, Model, Moment
from distillation.teachers.selfsupervised.optimizers import optimizer_of, rate
from distillation.teachers.selfsupervised.views import View, draw, show
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate

if TYPE_CHECKING:
    from distillation.teachers.selfsupervised.settings import Pretraining


class Loop:
    """The training of one self-supervised model, which can be interrupted and resumed between any two steps.

    An epoch is a random order of the images. Those that do not fill its last batch are left out, other ones in each
    epoch.

    Args:
        model: a Model, on its device; trained in place.
        views: the recipes of the views; the model is given one batch of images for each, in this order.
        images: (N, C, S, S) uint8 on that device, or files that are decoded onto it; N at least ``settings.batch``.
        encode: function from raw images (n, C, S, S) in [0, 1] to the space of the network's inputs.
        settings: the section of the objective.
        seed: seed of all random numbers (order, views, the model's own).
        name: prefix of the names of their generators.
        flip: whether a mirrored image keeps its class; False mirrors no view.
        compile: whether the encoders run through torch.compile.

    Attributes:
        model: the model of the arguments.
        step: number of steps completed.
        steps_per_epoch: number of batches of an epoch, all of them full.
        epoch_loss: sum of the losses of the running epoch's steps, () float64 on the device.
        tensors: all parameters and buffers of the model by name, as they were when the Loop was created. They are what
            checkpoints hold, so models have to change their buffers in place.
    """

    def __init__(
        self,
        model: Model,
        views: Sequence[View],
        images: Tensor | IndexedImages,
        encode: Callable[[Tensor], Tensor],
        settings: "Pretraining",
        seed: int,
        name: str,
        flip: bool,
        compile: bool = False,
    ) -> None:
        self.model, self.views, self.images, self.encode = model, views, images, encode
        self.settings, self.seed, self.name, self.flip = settings, seed, name, flip
        self.steps_per_epoch = len(images) // settings.batch
        self.step = 0
        self.epoch_loss = torch.zeros((), dtype=torch.float64, device=images.device)
        self.optimizer = optimizer_of(model.parameters(), settings)
        self.tensors = dict(model.named_parameters()) | dict(model.named_buffers())  # queues are in no state_dict
        if compile:
            forget()
            for module in model.modules():
                if isinstance(module, Encoder):
                    module.compile(dynamic=False)  # shapes never change: batches are full, a view has one size

    @property
    def epoch(self) -> int:
        """Number of complete epochs."""
        return self.step // self.steps_per_epoch

    @property
    def done(self) -> bool:
        """Whether all epochs are complete."""
        return self.epoch >= self.settings.epochs

    def advance(self) -> float | None:
        """Takes one optimiser step.

        Returns:
            The mean loss of the epoch over its steps, if this step completes one, else None.
        """
        place = self.step % self.steps_per_epoch
        if place == 0:
            self.model.train()
            self._set_order()
            self.epoch_loss.zero_()
        # At every step, so that a checkpoint need not hold the rate, as that of Training does.
        set_rate(self.optimizer, rate(self.settings, self.step, self.steps_per_epoch))
        index = self.order[place * self.settings.batch : (place + 1) * self.settings.batch]
        done = self.step / (self.steps_per_epoch * self.settings.epochs)
        moment = Moment(self.epoch, done, self._draws("model", self.step))
        loss = self.model(self._shown(index), moment)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.model.before_step(moment)
        self.optimizer.step()
        self.epoch_loss += loss.detach()
        self.step += 1
        return float(self.epoch_loss) / self.steps_per_epoch if place + 1 == self.steps_per_epoch else None

    @torch.no_grad()
    def _shown(self, index: Tensor) -> list[Tensor]:
        images, draws = cast("Tensor", self.images[index]).float() / 255, self._draws("views", self.step)
        count, size = len(images), images.shape[2]
        return [self.encode(show(images, view, draw(view, count, size, self.flip, draws))) for view in self.views]

    def _set_order(self) -> None:
        order = torch.randperm(len(self.images), generator=self._draws("order", self.epoch))
        self.order = to_device(order, indices_on(self.images))

    def _draws(self, purpose: str, index: int) -> torch.Generator:
        return generator(self.seed, self.name, purpose, index)

    def state_dict(self) -> dict[str, Any]:
        """Returns weights, buffers, optimiser state and progress; tensors are not copied."""
        return {
            "model": dict(self.tensors),
            "optimizer": optimizer_state(self.optimizer),
            "step": self.step,
            "epoch_loss": self.epoch_loss,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned, so that training ends with the same bits as without a break."""
        for name, tensor in self.tensors.items():
            tensor.copy_(state["model"][name])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.step = state["step"]
        self.epoch_loss = state["epoch_loss"].to(self.epoch_loss.device)
        self.model.train()
        self._set_order()
