"""KIP: kernel inducing points (Nguyen et al., ICLR 2021, arXiv 2011.00050; NeurIPS 2021, arXiv 2107.13034).

Kernel ridge regression from the synthetic images X and their labels Y should predict the labels y_t of real images x_t:

    L(X, Y) = 1/2 mean (K_tX (K_XX + λ I)^-1 Y - y_t)²,    λ = ridge · trace K_XX / M

The mean is over real images and classes; M is the number of synthetic images. K is the neural tangent kernel of an
infinitely wide fully connected network with ReLU, in closed form (the published colab's: one hidden layer, variance 2
of weights and 0.01 of biases), so that nothing is random but the real batch, of up to ``batch_real`` images of each
class. y_t and the first Y are one-hot minus 1 / C. Kernels are computed in float64 throughout, as published.

``labels`` ``fixed`` moves X alone (the colab), ``learnt`` also Y (the second paper), both by Adam at the same rate.
``solved`` moves X alone in all updates, and then sets Y once to those labels that fit the whole training set best. With
``iterations`` 0 and real images this is the Label Solve of the papers. The papers' large results are of convolutional
kernels, which took hundreds of accelerators and are not here.

With guidance: at alpha 1 the teacher's gradient measured 24 to 63 times that of L on digits, so that an absolute alpha of about
0.01, or one of at most 1 on ``method.guidance.scale`` relative, is sane. The teacher sees each image's first class.
"""

import math
from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from distillation.bounds import Count, Depth, Positive, Weight, Whole
from distillation.methods.base import Common, ImageMethod, Problem, StepResult
from distillation.methods.cost import Cost, Outline
from distillation.methods.families.ridge import require_finite_loss, solve
from distillation.params import Section
from distillation.runtime.transfers import to_device

WEIGHTS, BIASES = 2.0, 0.01  # variances of the infinitely wide network's parameters
EPSILON = 1e-7  # how near to 1 a cosine may come: there the derivative of its angle is infinite


class Settings(Section):
    """The settings of KIP.

    Attributes:
        iterations: updates; 0 only where ``labels`` is ``solved``.
        lr: learning rate of Adam.
        batch_real: real images of each class in an update, or as many as the class has.
        depth: hidden layers of the infinitely wide network.
        ridge: λ relative to the mean diagonal of the kernel.
        labels: ``fixed``, ``learnt`` with the images, or ``solved`` for at the end.
    """

    iterations: Whole
    lr: Positive
    batch_real: Count
    depth: Depth
    ridge: Weight
    labels: Literal["fixed", "learnt", "solved"]

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        if self.iterations == 0 and self.labels != "solved":
            raise ValueError("has 0 iterations, which is for labels solved alone; give at least 1")
        return self


def ntk(x: Tensor, z: Tensor | None = None, depth: int = 1) -> Tensor:
    """Computes the neural tangent kernel Θ of a fully connected ReLU network of infinite width; differentiable.

    Layer by layer, it carries along the covariance of outputs and the kernel (Jacot et al. 2018; the arc-cosine kernels
    of Cho and Saul 2009), with W = 2, B = 0.01 and t the angle between two inputs of variances p and q:

        c = cos t = cov / √(pq),  cov <- W √(pq) (sin t + (π - t) c) / 2π + B,  Θ <- cov + W Θ (π - t) / 2π

    Args:
        x: images (N, ...) float64, flattened here.
        z: images (M, ...) float64; None: those of ``x``.
        depth: number of hidden layers.

    Returns:
        (N, M) float64.
    """
    alone, x = z is None, x.flatten(1)
    z = x if z is None else z.flatten(1)
    covariance = WEIGHTS / x.shape[1] * (x @ z.T) + BIASES
    p, q = (WEIGHTS / x.shape[1] * y.square().sum(1) + BIASES for y in (x, z))
    kernel, diagonal = covariance, p
    for _ in range(depth):
        norms = (p.unsqueeze(1) * q).sqrt()
        cosine = (covariance / norms).clamp(EPSILON - 1, 1 - EPSILON)
        angle = cosine.acos()
        active = (math.pi - angle) / (2 * math.pi)
        covariance = WEIGHTS * norms * (angle.sin() / (2 * math.pi) + active * cosine) + BIASES
        kernel = covariance + WEIGHTS * kernel * active
        p, q = (WEIGHTS * variance / 2 + BIASES for variance in (p, q))
        diagonal = p + WEIGHTS * diagonal / 2
    # of an image with itself t is 0: its entries are computed without the angle, exact and with a finite derivative
    return kernel.diagonal_scatter(diagonal) if alone else kernel


class KIP(ImageMethod[Settings]):
    """Kernel inducing points.

    A unit of work is an update or, after the last one where ``labels`` is ``solved``, the solution for the labels.

    Attributes:
        targets: Y, label vectors (M, C), that require a gradient only where ``labels`` is ``learnt``.
        leaves: what the optimiser moves: images and, if they are learnt, targets.
        batch: number of real images in an update.
        loss: of the last update of this run, (); None before it.
    """

    kind = "regression"
    labels: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]: optional in ImageMethod, always set here
    targets: Tensor
    variables = ("images", "targets")

    def __init__(self, problem: Problem, settings: Settings) -> None:
        super().__init__(problem, settings)
        self.total = settings.iterations + (settings.labels == "solved")
        self.loss: Tensor | None = None
        self.targets = problem.centred(self.labels).requires_grad_(settings.labels == "learnt")
        self.leaves = [leaf for leaf in (self.images, self.targets) if leaf.requires_grad]
        self.optimizer = torch.optim.Adam(self.leaves, settings.lr)
        self.batch = sum(problem.batch_sizes(settings.batch_real))
        problem.note_short(settings.batch_real)

    @property
    def updates(self) -> int:
        """The number of updates of the images; the solution for the labels is not one."""
        return self.settings.iterations

    def advance(self) -> StepResult:
        """Sets the gradients of images and learnt labels by L, the metric ``loss``; or solves for Y at the end."""
        update, self.at = self.at, self.at + 1
        if update == self.settings.iterations:
            self._solve()
            return StepResult(image_grad_ready=False)
        index = torch.cat(self.problem.batch(self.settings.batch_real, self.problem.draws("batch", update)))
        targets = self.problem.centred(self.problem.data.train.labels[to_device(index, self.images.device)])
        loss = (self._predictions(self.problem.real(index)) - targets).square().mean() / 2
        gradients = torch.autograd.grad(loss, self.leaves)
        for leaf, gradient in zip(self.leaves, gradients, strict=True):
            leaf.grad = gradient
        self.loss = loss.detach()
        return StepResult(image_grad_ready=True, metrics={"loss": self.loss})

    def require_sound(self) -> None:
        """Checks the loss of the last update; raises Diverged if its kernel was singular or not finite."""
        if self.loss is not None:
            require_finite_loss(self.loss, len(self.images), self.settings.ridge)

    def _predictions(self, real: Tensor) -> Tensor:
        """Returns the predictions K_tX (K_XX + λ I)^-1 Y (n, C) float64 of real images t (n, C, S, S)."""
        images, ridge = self.images.double(), self.settings.ridge
        kernel = ntk(images, depth=self.settings.depth)
        weights = solve(kernel, self.targets.double(), ridge * kernel.diagonal().mean())
        return ntk(real.double(), images, self.settings.depth) @ weights

    @torch.no_grad()
    def _solve(self) -> None:
        """Sets Y to (K_XX + λ I) K_tX⁺ y_t of all training images t, which minimises the squared error."""
        data, images = self.problem.data, self.images.double()
        parts = torch.arange(len(data.train)).split(self.batch)
        kernels = [ntk(self.problem.real(part).double(), images, self.settings.depth) for part in parts]
        # lstsq gives K_tX⁺ y_t = (K_XX + λ I)^-1 Y; Y follows by a product, without an inverse
        weights = torch.linalg.lstsq(torch.cat(kernels), self.problem.centred(data.train.labels).double()).solution
        kernel = ntk(images, depth=self.settings.depth)
        solved = kernel @ weights + self.settings.ridge * kernel.diagonal().mean() * weights
        self.targets = solved.float()  # pyright: ignore[reportIncompatibleVariableOverride]: optional in ImageMethod

    def cost(self) -> Cost:
        """Counts the products of the kernels and of their gradients; no image passes through a network."""
        updates = min(self.at, self.settings.iterations)
        data = self.problem.data
        return _cost(data.shape, len(self.images), updates, self.batch, (self.at - updates) * len(data.train))

    @classmethod
    def holds(cls, common: Common, settings: Settings, outline: Outline) -> dict[str, float]:
        """Counts also the kernels of images with themselves and with a batch, in float64: two float32 numbers each."""
        images = common.ipc * outline.classes
        real = min(settings.batch_real * outline.classes, outline.count)
        held = super().holds(common, settings, outline)
        return {"ipc": held["ipc"] + 2 * images**2, "kip.batch_real": 2 * images * real}

    @classmethod
    def estimate(cls, common: Common, settings: Settings, outline: Outline) -> Cost:
        """Estimates the products of all updates."""
        batch = min(settings.batch_real * outline.classes, outline.count)
        solved = outline.count * (settings.labels == "solved")
        return _cost(outline.shape, common.ipc * outline.classes, settings.iterations, batch, solved)


def _cost(shape: tuple[int, int, int], images: int, updates: int, batch: int, solved: int) -> Cost:
    """Returns the Cost of the products of images, of which kernels are made.

    Args:
        shape: (channels, size, classes).
        images: number of synthetic images.
        updates: number of updates.
        batch: real images of an update.
        solved: real images that the labels are solved for; 0 if they are not.
    """
    channels, size, _ = shape
    products = 3 * updates * (batch + images) + solved
    return Cost(flops=2 * products * images * channels * size**2)


METHOD = KIP
