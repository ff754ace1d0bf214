"""Training one network for a number of steps whose loss is a function of the step, so that it can stop between any two."""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.training.loop import Training
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate
from distillation.training.resume import complete


class Steps:
    """One network on its way through ``count`` steps.

    Args:
        network: on its device.
        loss_at: function of the step that gives its loss; draws nothing but what the step names.
        optimizer: of the network's parameters.
        factor: function of the step: what the learning rate is multiplied by.
        count: of steps.
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
        return self.at >= self.count

    def advance(self) -> tuple[Tensor]:
        """One step; returns (its loss,), a Tensor."""
        set_rate(self.optimizer, self.rate * self.factor(self.at))
        loss = self.loss_at(self.at)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.at += 1
        return (loss.detach(),)

    def state_dict(self) -> dict[str, Any]:
        network = dict(self.network.state_dict())
        return {"at": self.at, "network": network, "optimizer": optimizer_state(self.optimizer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]
        self.network.load_state_dict(state["network"])
        restore_optimizer(self.optimizer, state["optimizer"])


class Batches:
    """Which of ``count`` images a step is given: epochs in random order, the last batch of each perhaps short."""

    def __init__(self, count: int, size: int, seed: int, name: str) -> None:
        self.count, self.size, self.seed, self.name = count, size, seed, name
        self.per_epoch = math.ceil(count / size)
        self.epoch: int | None = None

    def __call__(self, step: int) -> Tensor:
        """Indices (n,) on the CPU."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            draws = generator(self.seed, self.name, "order", epoch)
            self.epoch, self.order = epoch, torch.randperm(self.count, generator=draws)
        return self.order[place * self.size : (place + 1) * self.size]


def run(task: Task, training: "Steps | Training", count: int, at: Callable[[], int], unit: str) -> float:
    """Brings ``training`` to its end, resuming where an earlier run stopped; gives the last loss.

    Progress is shown of ``count`` units, which ``at`` counts.
    """
    last: dict[str, float | Tensor] = {"loss": math.nan}

    def advance() -> dict[str, float | Tensor] | None:
        if not (finished := training.advance()):
            return None
        last["loss"] = finished[0]
        return dict(last)

    def load_state_dict(state: dict[str, Any]) -> None:
        training.load_state_dict(state["training"])
        last["loss"] = state["last"]

    complete(
        task,
        cast("dict[str, Any] | None", task.start()),
        advance=advance,
        state_dict=lambda: {"training": training.state_dict(), "last": float(last["loss"])},
        load_state_dict=load_state_dict,
        at=at,
        total=count,
        unit=unit,
    )
    return float(last["loss"])
