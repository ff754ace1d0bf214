"""Learning images and targets by regression on the features of a pool of networks: what FRePo and KRR-ST share.

An update draws a network of the pool, fits a linear map from the features of the images to their targets in closed form,
and moves both by the error of that map on a batch of real images. Then that network learns a step from the new set.
"""

import math

import torch

from distillation.methods.base import ImageMethod
from distillation.methods.families.regressor import Regressor


class NetworkPoolMethod(ImageMethod):
    """A subclass sets ``targets``, ``optimizer`` and ``pool``; ``network_steps`` counts the steps of all its networks."""

    matches_features = True
    variables = ("images", "targets")
    pool: list[Regressor]

    def __init__(self, problem, settings):
        super().__init__(problem, settings)
        self.embed, self.forward = problem.compiled(_embed), problem.compiled(_forward)
        self.network_steps = 0

    def _drawn(self, update):
        """The Regressor of an update."""
        return self.pool[int(torch.randint(len(self.pool), (1,), generator=self.problem.draws("network", update)))]

    def _train(self, regressor, images, targets):
        regressor.train_step(images, targets)
        self.network_steps += 1

    def _batch(self, update):
        """Indices (n,) of the real images of an update, in epochs of random order; an epoch's last batch may be short."""
        count, batch = len(self.problem.data.train), self.settings.batch_real
        epoch, place = divmod(update, math.ceil(count / batch))
        order = torch.randperm(count, generator=self.problem.draws("order", epoch))
        return order[place * batch : (place + 1) * batch]

    def _real_images(self, updates):
        """How many real images so many updates take."""
        count, batch = len(self.problem.data.train), self.settings.batch_real
        epochs, places = divmod(updates, math.ceil(count / batch))
        return epochs * count + places * batch

    def state_dict(self):
        pool = [regressor.state_dict() for regressor in self.pool]
        return {**super().state_dict(), "pool": pool, "network_steps": self.network_steps}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.network_steps = state["network_steps"]
        for regressor, saved in zip(self.pool, state["pool"], strict=True):
            regressor.load_state_dict(saved)


def _embed(network, images):
    return network.embed(images)


def _forward(network, images):
    return network(images)
