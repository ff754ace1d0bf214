"""A network that learns a distilled set of images and target vectors, a step at a time (FRePo, KRR-ST)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distillation.networks.build import Network, initialise
from distillation.runtime.device import autocast
from distillation.training.optimizers import optimizer_state, restore_optimizer


class Regressor:
    """A network of a pool, with its optimiser. Its parameters require a gradient only during ``train_step``.

    Args:
        network: on its device; changed in place.
        forward: function of the network and images (M, C, S, S) that returns its outputs (M, D); compiled or not.
        optimizer: of the network's parameters.
        precision: ``fp32`` or ``bf16``.

    Attributes:
        steps: number of calls of ``train_step``, by which a method decides when to replace the network. The method may
            set it, as its start or after ``reset``.
    """

    def __init__(self, network: Network, forward: Callable, optimizer: torch.optim.Optimizer, precision: str) -> None:
        self.network, self.forward, self.precision = network.requires_grad_(False), forward, precision
        self.optimizer, self.steps = optimizer, 0

    def train_step(self, images: Tensor, targets: Tensor) -> None:
        """Takes a step on the mean squared error between the network's outputs and the targets.

        The network is left in train mode; images and targets get no gradient.

        Args:
            images: (M, C, S, S).
            targets: (M, D).
        """
        network = self.network.train().requires_grad_(True)
        with autocast(images.device, self.precision):
            outputs = self.forward(network, images.detach())
        loss = F.mse_loss(outputs.float(), targets.detach())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        network.requires_grad_(False)
        self.steps += 1

    def reset(self, draws: torch.Generator) -> None:
        """Draws new weights from the CPU generator ``draws`` and clears the optimiser's state; ``steps`` stays."""
        initialise(self.network, draws)
        self.optimizer.state.clear()

    def state_dict(self) -> dict[str, Any]:
        """Returns weights, optimiser state and steps for a checkpoint."""
        optimizer = optimizer_state(self.optimizer)
        return {"network": dict(self.network.state_dict()), "optimizer": optimizer, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.network.load_state_dict(state["network"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.steps = state["steps"]
