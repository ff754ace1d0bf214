"""Gradient matching, the base of DC (Zhao et al., ICLR 2021) and DSA (Zhao and Bilen, ICML 2021).

``iterations`` times a fresh network is drawn and trained on the synthetic images for a while. At ``outer`` moments on
the way, the images of each class move so that the gradient of the network's cross-entropy on them meets that on a batch
of real ones, classes summed (DC, equation 9; the same step as class by class, since their images are apart):

    L = sum_c D(grad CE(T_c), grad CE(S_c)),    D = sum over layers and their outputs i of 1 - cos(A_i, B_i)

T_c and S_c are the real and the synthetic images of class c, A_i and B_i the parts of the two gradients that belong to
output i of a layer. Between two such moments lie ``inner`` epochs of SGD over all synthetic images. ``auto`` takes both
numbers from the table by IPC that the official code has; its values at 30 and 40 images differ from the paper's rule,
500 / T epochs. The code counts to the last iteration inclusively and stores its images after one iteration more than it
evaluates; here there are exactly ``iterations``.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.func import functional_call, grad, grad_and_value

from distillation.augment.siamese import apply, augment_batch, draw
from distillation.bounds import Count, Positive
from distillation.methods.base import Common, ImageMethod, Problem, StepResult
from distillation.methods.cost import Cost, Outline
from distillation.methods.families.gradient_distances import DISTANCES, SETTLING
from distillation.networks.build import Network, initialise
from distillation.params import Section
from distillation.runtime.device import autocast
from distillation.runtime.errors import BadInput
from distillation.runtime.transfers import to_device

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}  # ipc: outer, inner

Auto = Literal["auto"] | Count  # auto: the number from LOOPS


class Settings(Section):
    """The settings of gradient matching.

    Attributes:
        iterations: number of fresh networks. There are ``iterations`` · ``outer`` updates in all.
        outer: updates of the images under one network.
        inner: epochs of the network on the synthetic images between two updates.
        lr_img: learning rate of the images.
        momentum: of the SGD on the images (the official code's; the paper states plain SGD).
        lr_net: learning rate of the networks, whose SGD has no momentum.
        batch_real: real images of each class in an update, or as many as the class has.
        batch_train: synthetic images in a step of the network.
        distance: D of ``gradient_distances``: ``per_output``, as published; ``mse``, the squared distance of the whole
            gradients; or ``cos``, 1 minus the cosine of the whole gradients.
    """

    iterations: Count
    outer: Auto
    inner: Auto
    lr_img: Positive
    momentum: float = Field(ge=0, lt=1)
    lr_net: Positive
    batch_real: Count
    batch_train: Count
    distance: Literal["per_output", "mse", "cos"]


def loops(common: Common, settings: Settings) -> tuple[int, int]:
    """Returns (outer, inner) of the settings, with ``auto`` replaced by the published number for ``method.ipc``.

    Raises:
        BadInput: one is ``auto``, and the published table ``LOOPS`` lacks ``method.ipc``.
    """
    chosen = settings.outer, settings.inner
    if "auto" in chosen and common.ipc not in LOOPS:
        raise BadInput(
            f"method.{common.name}.outer and inner are auto, which {', '.join(map(str, LOOPS))} images of each class have "
            f"published numbers for, but method.ipc is {common.ipc}: give both."
        )
    outer, inner = (LOOPS[common.ipc][i] if each == "auto" else each for i, each in enumerate(chosen))
    return outer, inner


def _cross_entropy(
    forward: Callable, images: Tensor, labels: Tensor, precision: str, reduction: str = "mean"
) -> Tensor:
    """Returns the cross-entropy () of images, by the logits of ``forward`` in a precision, in the images' own type."""
    with autocast(images.device, precision):
        logits = forward(images)
    return F.cross_entropy(logits.to(images.dtype), labels, reduction=reduction)


def image_gradient(network: Network, distance: Callable, precision: str) -> Callable:
    """Builds the function that differentiates the distance D of gradients by the synthetic images of a class.

    It differentiates a gradient. By ``torch.func`` torch.compile takes that as one graph; autograd's second pass would
    stay eager.

    Args:
        network: the network; its weights are passed to the function at each call.
        distance: D, a function of the synthetic and the real gradient, see ``gradient_distances``.
        precision: ``fp32`` or ``bf16``.

    Returns:
        A function of images (n, C, S, S), parameters and buffers by name, labels (n,), and the real gradient, a tuple
        with a Tensor for each parameter. It returns the gradient of D by the images (n, C, S, S), and D ().
    """

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        forward = partial(functional_call, network, (parameters, buffers))
        return _cross_entropy(forward, images, labels, precision)

    def matching_loss(
        images: Tensor,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        labels: Tensor,
        real: Sequence[Tensor],
    ) -> Tensor:
        return distance(tuple(grad(loss)(parameters, buffers, images, labels).values()), real)

    return grad_and_value(matching_loss)


def eager_image_gradient(network: Network, distance: Callable, precision: str) -> Callable:
    """Builds the same function by autograd's two passes, which run without the layers of ``torch.func`` in between.

    Arguments and result are those of ``image_gradient``; the parameters have to be the network's own, which are used as
    they are.
    """

    def gradient(
        images: Tensor,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        labels: Tensor,
        real: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor]:
        images = images.detach().requires_grad_()
        loss = _cross_entropy(network, images, labels, precision)
        value = distance(torch.autograd.grad(loss, list(network.parameters()), create_graph=True), real)
        return torch.autograd.grad(value, images)[0], value

    return gradient


class Matching(ImageMethod[Settings]):
    """Gradient matching; one unit of work is an update of the images or an SGD step of the network.

    Which of the two a unit is, and of which network, follows from ``at`` alone: an iteration has ``outer`` updates,
    with ``inner`` epochs of steps between two of them, and none after the last.

    Attributes:
        siamese: whether real and synthetic images are augmented (DSA) or not (DC).
        outer: updates under one network.
        epoch: steps of the network in one epoch over the synthetic images.
        round: units from one update to the next under the same network.
        iteration: units of one network.
        network: the matching network, initialised anew in each iteration.
        norms: its batch norms.
    """

    siamese = False
    labels: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]: optional in ImageMethod, always set here

    def __init__(self, problem: Problem, settings: Settings) -> None:
        super().__init__(problem, settings)
        self.outer, inner = loops(problem.settings, settings)
        self.optimizer = torch.optim.SGD([self.images], settings.lr_img, settings.momentum)
        self.strategy = problem.strategy if self.siamese else "none"
        self.batch, self.settling = settings.batch_real, min(SETTLING, settings.batch_real)
        problem.note_short(settings.batch_real)
        self.epoch = math.ceil(len(self.images) / settings.batch_train)
        self.round = 1 + inner * self.epoch
        # no training after the last update: the network is dropped then
        self.iteration = (self.outer - 1) * self.round + 1
        self.total = settings.iterations * self.iteration

        self.network = problem.network(problem.draws("network"))
        self.norms = [m for m in self.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        self.forward = problem.graphed(self.network)
        gradient = image_gradient if problem.settings.compile else eager_image_gradient
        self.match = problem.graphed(gradient(self.network, DISTANCES[settings.distance], problem.settings.precision))

    @classmethod
    def check(cls, common: Common, settings: Settings, classes: int | None) -> None:
        """Raises BadInput if ``auto`` is unknown for the IPC, or an augmentation is set for a method that has none."""
        loops(common, settings)
        if not cls.siamese and common.augment not in ("auto", "none"):
            raise BadInput(
                f"method.augment is {common.augment}, but {common.name} matches images as they are: use dsa."
            )

    @classmethod
    def holds(cls, common: Common, settings: Settings, outline: Outline) -> dict[str, float]:
        """Counts also the network, with a gradient on real and one on synthetic images."""
        return {**super().holds(common, settings, outline), "network": 3 * outline.weights(common.network)}

    @property
    def updates(self) -> int:
        """The number of updates of the images."""
        return self.settings.iterations * self.outer

    def advance(self) -> StepResult:
        """Trains the network for a step, or sets ``images.grad`` to that of L; the metric ``loss`` is L / classes."""
        iteration, place = divmod(self.at, self.iteration)
        outer, step = divmod(place, self.round)
        self.at += 1
        self.problem.begin_step()
        if step:
            self._train(step - 1, iteration, outer)
            return StepResult(image_grad_ready=False)
        if outer == 0:  # the weights are drawn in place, so that the compiled functions stay valid
            initialise(self.network, self.problem.draws("network", iteration))
        draws = self.problem.draws("update", iteration, outer)
        self._freeze_norms(draws)
        self.images.grad, loss = self._differentiate(draws)
        return StepResult(image_grad_ready=True, metrics={"loss": loss / self.problem.classes})

    @torch.no_grad()
    def _freeze_norms(self, draws: torch.Generator) -> None:
        """Passes a few real images through a network with batch norms in train mode, then sets it to eval mode.

        It stays so while gradients are matched: batch norms would otherwise see the images of one class alone. The pass
        updates their statistics with the usual momentum, as in the official code; of a fresh network they thus stay
        near their initial values. A network without batch norms is left alone, since its modes are the same.
        """
        if self.norms:
            self.network.train()
            self.network(self.problem.real(torch.cat(self.problem.batch(self.settling, draws))))
            self.network.eval()

    def _differentiate(self, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns the gradient of L by the images (N, C, S, S), and L (); each class has one drawn augmentation."""
        problem, ipc = self.problem, self.problem.settings.ipc
        chosen = problem.batch(self.batch, draws)
        ops, numbers = draw(self.strategy, problem.classes, 1, draws)
        seen = apply(self.images, self.strategy, ops.repeat_interleave(ipc), numbers[:, 0].repeat_interleave(ipc, 0))
        parameters = {name: value.detach() for name, value in self.network.named_parameters()}
        buffers = dict(self.network.named_buffers())
        gradients, total = [], 0.0
        # The images' augmentation is differentiated once for all classes, at the end. Of the classes one graph at a
        # time is in memory: each gradient is taken by the augmented images, which are detached from ``images`` here.
        parts = zip(chosen, ops, numbers, seen.detach().split(ipc), self.labels.split(ipc), strict=True)
        for indices, op, row, images, labels in parts:
            count = len(indices)
            real = apply(problem.real(indices), self.strategy, op.expand(count), row.expand(count, -1))
            target = self._gradient(real, labels[:1].expand(count))  # all images of this part have one class
            gradient, distance = self.match(images, parameters, buffers, labels, target)
            gradients.append(gradient)
            total = total + distance.detach()
        return torch.autograd.grad(seen, self.images, torch.cat(gradients))[0], cast("Tensor", total)

    def _gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Returns the gradient of the mean cross-entropy by the network's parameters, ``method.chunk`` images at a time.

        In train mode a network with batch norms sees all images at once, since its statistics are those of the batch.
        """
        parameters, learning = list(self.network.parameters()), self.norms and self.network.training
        chunk = len(images) if learning else self.problem.settings.chunk
        parts = []
        for part, classes in zip(images.split(chunk), labels.split(chunk), strict=True):
            # a sum divided by the number of all images, so that chunks add up to the gradient of the mean
            loss = _cross_entropy(self.forward, part, classes, self.problem.settings.precision, "sum") / len(images)
            parts.append(torch.autograd.grad(loss, parameters))
        return tuple(cast("Tensor", sum(each)) for each in zip(*parts, strict=True))

    def _train(self, step: int, iteration: int, outer: int) -> None:
        """Takes one SGD step of the network on synthetic images; DSA augments each by parameters of its own.

        Args:
            step: number of the step since the last update, from 0.
            iteration: number of the network.
            outer: number of the last update under this network.
        """
        epoch, place = divmod(step, self.epoch)
        order = torch.randperm(len(self.images), generator=self.problem.draws("order", iteration, outer, epoch))
        index = to_device(order.split(self.settings.batch_train)[place], self.images.device)
        draws = self.problem.draws("augment", iteration, outer, step)
        self.network.train()
        images = augment_batch(self.images.detach()[index], self.strategy, draws)
        gradients = self._gradient(images, self.labels[index])
        with torch.no_grad():
            torch._foreach_add_(  # pyright: ignore[reportPrivateImportUsage]: one kernel for all, as torch.optim's
                list(self.network.parameters()), gradients, alpha=-self.settings.lr_net
            )

    def state_dict(self) -> dict[str, Any]:
        """Returns images, optimiser state and network."""
        return {**super().state_dict(), "network": dict(self.network.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        super().load_state_dict(state)
        self.network.load_state_dict(state["network"])

    def cost(self) -> Cost:
        """Counts the passes of the units so far."""
        full, place = divmod(self.at, self.iteration)
        updates = full * self.outer + math.ceil(place / self.round)
        real, synthetic = updates * sum(self.problem.batch_sizes(self.batch)), updates * len(self.images)
        trained = (self.at - updates) * len(self.images) // self.epoch  # steps times their mean batch
        settling = updates * sum(self.problem.batch_sizes(self.settling)) if self.norms else 0
        forward, backward = real + synthetic + trained + settling, real + synthetic + trained
        return Cost.of_passes(self.problem.forward_flops(), forward, backward, second=synthetic)

    @classmethod
    def estimate(cls, common: Common, settings: Settings, outline: Outline) -> Cost:
        """Estimates the passes of all units."""
        outer, inner = loops(common, settings)
        images, updates = common.ipc * outline.classes, settings.iterations * outer
        real, synthetic = updates * settings.batch_real * outline.classes, updates * images
        trained = settings.iterations * (outer - 1) * inner * images
        # a gradient's gradient counts as two passes forwards and backwards here, not as the four of ``second``
        passes = 3 * (real + trained + 3 * synthetic)
        return Cost(
            images_forward=real + synthetic + trained,
            images_backward=real + 2 * synthetic + trained,
            flops=passes * outline.flops(common.network),
        )
