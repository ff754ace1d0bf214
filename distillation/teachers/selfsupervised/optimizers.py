"""Optimisers of self-supervised training and their schedule."""

# torch._foreach_* take one kernel for all layers, as torch.optim does; the stubs do not export them.
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from distillation.training.schedules import cosine

if TYPE_CHECKING:
    from distillation.teachers.selfsupervised.settings import Pretraining


class Lars(torch.optim.SGD):
    """LARS: SGD whose gradients are scaled layer by layer to ``trust`` times the norm of the weights (You et al. 2017).

    The scale is clipped so that no layer learns faster than at ``lr`` itself. Vectors (biases, weights of norms) are
    trained by plain SGD without weight decay. Both follow solo-learn, whose settings for small images are the published
    ones. ``timm.optim.Lars`` with ``trust_clip=True`` is the same rule.

    Args:
        parameters: the parameters, all in one group.
        lr: the learning rate, above 0.
        momentum: of SGD.
        weight_decay: of tensors with more than one axis.
        trust: the norm of a layer's step before momentum, relative to that of its weights, where it is not clipped.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float, trust: float
    ) -> None:
        # Weight decay is left to ``step``: it has to be part of the gradient before that is scaled.
        super().__init__(parameters, lr, momentum, foreach=True)
        self.decay, self.trust = weight_decay, trust

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]: no closure is ever passed
        """Scales the gradients in place, then takes a step of SGD."""
        for group in self.param_groups:
            layers = [p for p in group["params"] if p.grad is not None and p.ndim > 1]
            gradients = [p.grad for p in layers]
            sizes, steepness = torch.stack(torch._foreach_norm(layers)), torch.stack(torch._foreach_norm(gradients))
            adapted = (sizes > 0) & (steepness > 0)
            # Divided by the rate, by which SGD multiplies again; clipped at 1, where the step is that of SGD itself.
            scale = self.trust * sizes / (steepness + self.decay * sizes + 1e-8) / group["lr"]
            scale = torch.where(adapted, scale.clamp_max(1), 1)
            torch._foreach_add_(gradients, torch._foreach_mul(layers, (self.decay * adapted).unbind()))
            torch._foreach_mul_(gradients, scale.unbind())
        super().step()


def optimizer_of(parameters: Iterable[nn.Parameter], settings: "Pretraining") -> torch.optim.Optimizer:
    """Returns the optimiser that ``settings.optimizer`` names, for the parameters that require a gradient.

    Momentum copies have none. AdamW and LARS decay tensors with more than one axis alone, SGD all parameters.
    """
    parameters = [p for p in parameters if p.requires_grad]
    lr, momentum, decay = settings.lr, settings.momentum, settings.weight_decay
    if settings.optimizer == "lars":
        return Lars(parameters, lr, momentum, decay, settings.trust)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, momentum, weight_decay=decay, foreach=True)
    groups = [  # biases and weights of norms are not decayed
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr, foreach=True)


def rate(settings: "Pretraining", step: int, steps: int) -> float:
    """Returns the learning rate at a step: a linear warm-up from the first step on, then half a cosine down to 0.

    Args:
        settings: ``lr``, ``warmup`` and ``epochs``.
        step: the step to be taken, counted from 0 over all epochs.
        steps: number of steps of an epoch.
    """
    before, whole = settings.warmup * steps, settings.epochs * steps
    if step < before:
        return settings.lr * (step + 1) / before
    return settings.lr * cosine(step - before, whole - before)
