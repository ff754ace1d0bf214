"""FRePo: neural feature regression with a pool of networks (Zhou, Nezhadarya and Ba, NeurIPS 2022, arXiv 2206.00719).

A network's last layer, fitted to the synthetic images X and their learnt label vectors Y in closed form, should predict
the labels y_x of real images x:

    L(X, Y) = mean_x 1/2 ||K_xX (K_XX + λ I)^-1 Y - y_x||² - mean_i min(first - second largest of Y_i, 1 / C)

K = φ φ' are products of features under a network of the pool in eval mode, λ = ridge · trace K_XX / M for M images; the
second term, over the images i, keeps the largest number of a label apart from the others. C is the number of classes.
y_x is one-hot less 1 / C, and so is Y at first, over √(C / 10). An update draws a network, moves X and Y at a rate that
falls along a cosine to a tenth, and then trains that network for one step of Adam on the mean squared error of at most
``batch_syn`` of the new X and Y. Once the network has had more than ``pool_steps`` steps (101 where 100 are set, as in
the official code), a fresh one replaces it instead. The pool begins with random networks. Their counts of steps begin
equally far apart, from 0 to below ``pool_steps``, so that they are not all replaced at once.

``lamb`` is the optimiser of the published numbers (the official JAX code; Adam whose step has each tensor's own norm),
at 0.0003, with a ``batch_syn`` of 1000; ``adam`` is that of the official torch code, at 0.001 with 500; its loss lacks
the 1/2 that ours keeps. FRePo normalises channels before its ZCA, whose regulariser is 0.1 of the mean eigenvalue; ours
is that of MTT and APM, 0.1 on raw pixels. ``mirror`` fits to the mirrored images too, where that keeps the class:
published for CIFAR-10, and for one image of a class elsewhere. Distilled with batch norm, the sets are meant for
networks without any norm. The official ConvNet norms before it convolves, from its second block on; ours afterwards.

With guidance: at alpha 1 the teacher's gradient measured 0.4 to 1 times that of L on digits, so that an alpha of at most 1 is
sane, absolute or relative. The teacher sees each image's first class.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from distillation.bounds import Copies, Count, Positive, Weight
from distillation.methods.base import Common, Problem, StepResult
from distillation.methods.cost import Cost, Outline
from distillation.methods.families.network_pool import NetworkPoolMethod
from distillation.methods.families.regressor import Regressor
from distillation.methods.families.ridge import solve
from distillation.params import Section
from distillation.runtime.errors import Diverged
from distillation.runtime.transfers import to_device
from distillation.training.optimizers import set_rate
from distillation.training.schedules import cosine

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet

LAST = 0.1  # the learning rate at the end relative to the first: "along a cosine to a tenth", as above
EPSILON = {"lamb": 1e-6, "adam": 1e-8}  # what Adam adds to the root of its second moment


class Settings(Section):
    """The settings of FRePo.

    Attributes:
        iterations: updates of images and labels.
        optimizer: of images and labels.
        lr: its learning rate at first; it falls along a cosine to a tenth.
        batch_real: real images of an update, of all classes together.
        ridge: λ relative to the mean diagonal of the kernel.
        mirror: whether mirrored copies join the synthetic images in the fit, if mirroring keeps the class.
        pool: number of networks.
        pool_steps: a network is replaced once it has had more steps than these.
        pool_lr: learning rate of the networks, trained by Adam.
        batch_syn: synthetic images in a step of a network, at most.
    """

    iterations: Count
    optimizer: Literal["lamb", "adam"]
    lr: Positive
    batch_real: Count
    ridge: Weight
    mirror: bool
    pool: Copies
    pool_steps: Count
    pool_lr: Positive
    batch_syn: Count


class FRePo(NetworkPoolMethod[Settings]):
    """Neural feature regression; one unit of work is an update, with the step of the network that it drew.

    Attributes:
        mirrors: whether mirrored copies join the fit.
    """

    kind = "regression"
    labels: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]: optional in ImageMethod, always set here

    def __init__(self, problem: Problem, settings: Settings) -> None:
        super().__init__(problem, settings, settings.batch_real)
        self.total = settings.iterations
        self.targets = (problem.centred(self.labels) / math.sqrt(problem.classes / 10)).requires_grad_()
        leaves = [self.images, self.targets]
        self.optimizer = torch.optim.Adam(leaves, settings.lr, eps=EPSILON[settings.optimizer])
        self.mirrors = settings.mirror and problem.data.info["flip"]
        self.pool = [self._regressor(place) for place in range(settings.pool)]

    def advance(self) -> StepResult:
        """Sets ``images.grad`` and ``targets.grad`` to the gradient of L, which is also the metric ``loss``."""
        embed = partial(self.embed, self._drawn(self.at).network.eval())
        real, real_targets = self._real(self.at)
        with torch.no_grad():
            real = self._features(embed, real)
        images, targets = self.images, self.targets
        if self.mirrors:
            images, targets = torch.cat([images, images.flip(3)]), torch.cat([targets, targets])
        predictions = _predictions(self._features(embed, images), targets.double(), real, self.settings.ridge)
        loss = (predictions - real_targets).square().sum(1).mean() / 2 - self._margin()
        self.images.grad, self.targets.grad = torch.autograd.grad(loss, (self.images, self.targets))
        self.at += 1
        self.loss = loss.detach()
        return StepResult(image_grad_ready=True, metrics={"loss": self.loss})

    @property
    def kernel_images(self) -> int:
        """The number of images in the kernel, mirrored copies included."""
        return len(self.images) * (2 if self.mirrors else 1)

    def _margin(self) -> Tensor:
        """Returns the mean over images () of the difference of the two largest numbers of a label, cut at 1 / C."""
        first, second = self.targets.topk(2, dim=1).values.unbind(1)
        return (first - second).clamp_max(1 / self.problem.classes).mean()

    def apply(self) -> None:
        """Moves images and labels, then trains or replaces the network of the update."""
        update = self.at - 1
        self._move(update)
        regressor = self._drawn(update)
        if regressor.steps > self.settings.pool_steps:  # a fresh network does not learn in the update that made it
            regressor.reset(self.problem.draws("renewed", update))
            regressor.steps = 0
            return
        order = torch.randperm(len(self.images), generator=self.problem.draws("batch", update))
        index = to_device(order[: self.settings.batch_syn], self.images.device)
        self._train(regressor, self.images[index], self.targets[index])

    @torch.no_grad()
    def _move(self, update: int) -> None:
        """Takes a step of the optimiser on images and labels.

        LAMB's step has Adam's direction and, tensor by tensor, the rate times the norm of the tensor as its length.
        """
        rate = self.settings.lr * cosine(update, self.settings.iterations, LAST)
        set_rate(self.optimizer, rate)
        leaves = (self.images, self.targets)
        before = [leaf.clone() for leaf in leaves]
        self.optimizer.step()
        if self.settings.optimizer == "lamb":
            for leaf, old in zip(leaves, before, strict=True):
                step = leaf - old  # Adam's; all images together are one tensor, all labels the other
                leaf.copy_(old + step * (rate * old.norm() / step.norm().clamp_min(1e-30)))

    def _real(self, update: int) -> tuple[Tensor, Tensor]:
        """Returns the real images (n, C, S, S) of an update and their centred labels (n, K)."""
        index = self._batch(update)
        labels = self.problem.data.train.labels[to_device(index, self.images.device)]
        return self.problem.real(index), self.problem.centred(labels)

    def _features(self, embed: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Returns features (n, F) in float64, which the kernel needs, see ``families.ridge``."""
        return self.problem.features(embed, images).double()

    def _regressor(self, place: int) -> Regressor:
        """Builds a network of the pool, with its initial count of steps."""
        network = self.problem.network(self.problem.draws("pool", place))
        optimizer = torch.optim.Adam(network.parameters(), self.settings.pool_lr, foreach=True)
        regressor = Regressor(network, self.forward, optimizer, self.problem.settings.precision)
        regressor.steps = place * self.settings.pool_steps // self.settings.pool
        return regressor

    def result(self) -> "DistilledSet":
        """Returns images with learnt labels.

        Raises:
            Diverged: labels are not finite.
        """
        if not self.targets.isfinite().all():
            raise Diverged("the labels are not finite at the end: lower method.frepo.lr.")
        return super().result()

    def cost(self) -> Cost:
        """Counts the passes of updates and network steps so far."""
        images = len(self.images)
        moved = self.at * images * (2 if self.mirrors else 1)
        moved += self.network_steps * min(images, self.settings.batch_syn)
        return _cost(self.problem.forward_flops(), self._real_images(self.at), moved)

    @classmethod
    def estimate(cls, common: Common, settings: Settings, outline: Outline) -> Cost:
        """Estimates the passes of all updates."""
        images = common.ipc * outline.classes
        moved = images * (2 if settings.mirror and outline.flip else 1) + min(images, settings.batch_syn)
        real = settings.iterations * min(settings.batch_real, outline.count)
        return _cost(outline.flops(common.network), real, settings.iterations * moved)


def _cost(flops: int, real: int, moved: int) -> Cost:
    """Returns the Cost of ``real`` images forwards, and of ``moved`` synthetic ones both ways."""
    return Cost.of_passes(flops, real + moved, moved)


def _predictions(synthetic: Tensor, targets: Tensor, real: Tensor, ridge: float) -> Tensor:
    """Predicts targets (N, C) of real images by ridge regression without a bias; differentiable, all in float64.

    Args:
        synthetic: features (M, F).
        targets: of the synthetic images (M, C).
        real: features (N, F).
        ridge: λ relative to the mean diagonal of the kernel.
    """
    kernel = synthetic @ synthetic.T
    return real @ synthetic.T @ solve(kernel, targets, ridge * kernel.diagonal().mean())


METHOD = FRePo
