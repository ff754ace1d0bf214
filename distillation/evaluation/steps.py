"""Training of one network whose loss is a function of the step, so that it can be interrupted between any two steps.

Pre-training on soft labels, transfer and kd use it. They count steps, where ``training.loop.Training`` counts epochs.
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from distillation.runtime.errors import Diverged, require_finite
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.training.loop import Training
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate
from distillation.training.resume import complete

_RECORDS = 100  # house: losses that are read in the course of a training; each waits for the device


class Steps:
    """The training of one network for ``count`` steps, which can be interrupted and resumed between any two.

    Args:
        network: on its device; it is put into train mode.
        loss_at: function from the step, counted from 0, to its loss (), with gradients. It draws only by generators
            that the step names, so that a resumed training has the same batches.
        optimizer: of the network's parameters, at its full learning rate.
        factor: function from the step to the factor of the learning rate.
        count: number of steps.

    Attributes:
        rate: the full learning rate.
        at: number of steps taken.
    """

    def __init__(
        self,
        network: nn.Module,
        loss_at: Callable[[int], Tensor],
        optimizer: torch.optim.Optimizer,
        factor: Callable[[int], float],
        count: int,
    ) -> None:
        self.network, self.loss_at, self.optimizer, self.factor, self.count = network, loss_at, optimizer, factor, count
        self.rate = optimizer.param_groups[0]["lr"]
        self.at = 0
        network.train()

    @property
    def done(self) -> bool:
        """Whether all steps are taken."""
        return self.at >= self.count

    def advance(self) -> tuple[Tensor]:
        """Takes one step.

        Returns:
            A tuple of its loss (), detached, on the device: as of ``Training.advance``, the first entry is a loss.
        """
        set_rate(self.optimizer, self.rate * self.factor(self.at))
        loss = self.loss_at(self.at)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.at += 1
        return (loss.detach(),)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of a checkpoint: ``network``, ``optimizer`` and ``at``."""
        network = dict(self.network.state_dict())
        return {"at": self.at, "network": network, "optimizer": optimizer_state(self.optimizer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.at = state["at"]
        self.network.load_state_dict(state["network"])
        restore_optimizer(self.optimizer, state["optimizer"])


class Batches:
    """The batches of a number of images by step: epochs in random order; the last batch of each may be short.

    Args:
        count: number of images.
        size: images in a batch.
        seed: of the order.
        name: name of the draws, which tells networks of one seed apart.

    Attributes:
        per_epoch: number of batches of an epoch.
    """

    def __init__(self, count: int, size: int, seed: int, name: str) -> None:
        self.count, self.size, self.seed, self.name = count, size, seed, name
        self.per_epoch = math.ceil(count / size)
        self.epoch: int | None = None

    def __call__(self, step: int) -> Tensor:
        """Returns the indices (n,) int64 of the images of a step, counted from 0, on the CPU."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:  # the order of the last epoch is kept: one permutation an epoch, not one a step
            draws = generator(self.seed, self.name, "order", epoch)
            self.epoch, self.order = epoch, torch.randperm(self.count, generator=draws)
        return self.order[place * self.size : (place + 1) * self.size]


def run(task: Task, training: "Steps | Training", count: int, at: Callable[[], int], unit: str, lower: str) -> float:
    """Runs a training to its end, resuming from the last checkpoint of its task.

    A loss that is not finite ends the training at the next record, with a sentence on stderr, but raises nothing: one
    network of a table does not end a stage, and its row shows that loss.

    Args:
        task: holds the checkpoints; its label begins the sentence.
        training: what is advanced.
        count: number of units of progress in all: steps of a Steps, epochs of a Training.
        at: function that returns the number of completed units.
        unit: the word for one unit, ``step`` or ``epoch``.
        lower: dotted path of the setting to lower if the loss is not finite.

    Returns:
        The last loss: of the last step, or the mean of the last epoch.
    """
    last: dict[str, float | Tensor] = {"loss": math.nan}
    every = max(1, count // _RECORDS)

    def advance() -> dict[str, float | Tensor] | None:
        if not (finished := training.advance()):
            return None
        last["loss"] = finished[
            0
        ]  # a tensor of Steps, which is not read yet: that would wait for the device at every step
        if at() % every == 0 or at() == count:
            last["loss"] = loss = float(finished[0])
            require_finite({"loss": loss}, f"{unit} {at()} of {count}", lower)
        return dict(last)

    def load_state_dict(state: dict[str, Any]) -> None:
        training.load_state_dict(state["training"])
        last["loss"] = state["last"]

    with ending_at_divergence(task):
        complete(
            task,
            task.start(),
            advance=advance,
            state_dict=lambda: {"training": training.state_dict(), "last": float(last["loss"])},
            load_state_dict=load_state_dict,
            at=at,
            total=count,
            unit=unit,
        )
    return float(last["loss"])


@contextlib.contextmanager
def ending_at_divergence(task: Task) -> Iterator[None]:
    """Ends the block where it raises Diverged, with the sentence on stderr: one network of many does not end a stage."""
    try:
        yield
    except Diverged as fault:
        print(f"{task.label}: {fault}", file=sys.stderr)
