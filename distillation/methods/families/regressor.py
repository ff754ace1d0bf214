"""A network that learns a distilled set of images and target vectors, a step at a time."""

import torch.nn.functional as F

from distillation.networks.build import initialise
from distillation.runtime.device import autocast


class Regressor:
    """A frozen network that wakes to learn; ``steps`` is what it counts of them.

    Args:
        network: on its device.
        answer: function of the network and images that gives its outputs; compiled or not.
        optimizer: of the network's parameters.
        precision: ``fp32`` or ``bf16``.
    """

    def __init__(self, network, answer, optimizer, precision):
        self.network, self.answer, self.precision = network.requires_grad_(False), answer, precision
        self.optimizer, self.steps = optimizer, 0

    def learn(self, images, targets):
        """One step on the mean squared error of images (M, C, S, S) and targets (M, D), in train mode."""
        network = self.network.train().requires_grad_(True)
        with autocast(images.device, self.precision):
            said = self.answer(network, images.detach())
        loss = F.mse_loss(said.float(), targets.detach())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        network.requires_grad_(False)
        self.steps += 1

    def renew(self, draws):
        """Fresh weights and a fresh optimiser; what it counts stays."""
        initialise(self.network, draws)
        self.optimizer.state.clear()

    def state_dict(self):
        optimizer = self.optimizer.state_dict()["state"]
        return {"network": dict(self.network.state_dict()), "optimizer": optimizer, "steps": self.steps}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state["optimizer"]})
        self.steps = state["steps"]
