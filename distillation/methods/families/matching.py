"""Gradient matching, the base of DC (ICLR 2021) and DSA (ICML 2021).

``iterations`` times a fresh network is drawn and trained on the synthetic images for a while. At ``outer`` moments on
the way, the images of each class move so that the gradient of the network's cross-entropy on them meets that on a batch
of real ones, classes summed (DC, equation 9; the same step as class by class, since their images are apart):

    L = sum_c D(grad CE(T_c), grad CE(S_c)),    D = sum over layers and their outputs i of 1 - cos(A_i, B_i)

Between two such moments lie ``inner`` epochs of SGD over all synthetic images. ``auto`` takes both numbers from the
table by IPC that the official code has; its values at 30 and 40 images differ from the paper's rule, 500 / T epochs.
The code counts to the last iteration inclusively and stores its images after one update more than it evaluates; here
there are exactly ``iterations``.
"""

import math
from collections.abc import Callable, Sequence
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

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}  # ipc: outer, inner

Auto = Literal["auto"] | Count


class Settings(Section):
    """The settings of gradient matching.

    Attributes:
        iterations: fresh networks.
        outer: updates of the images under one network.
        inner: epochs of the network between two updates.
        lr_img: learning rate of the images.
        momentum: of the images (the official code's; the paper states plain SGD).
        lr_net: learning rate of the networks, whose SGD has no momentum.
        batch_real: real images of each class in an update, or as many as it has.
        batch_train: synthetic images in a step of the network.
        distance: per_output, as published; mse (squared, of the whole gradient) or cos (one, of the whole gradient).
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
    """Returns (outer, inner).

    Raises:
        BadInput: one is ``auto``, and the published table lacks ``method.ipc``.
    """
    chosen = settings.outer, settings.inner
    if "auto" in chosen and common.ipc not in LOOPS:
        raise BadInput(
            f"method.{common.name}.outer and inner are auto, which {', '.join(map(str, LOOPS))} images of each class have "
            f"published numbers for, but method.ipc is {common.ipc}: give both."
        )
    outer, inner = (LOOPS[common.ipc][i] if each == "auto" else each for i, each in enumerate(chosen))
    return outer, inner


def image_gradient(network: Network, distance: Callable, precision: str) -> Callable:
    """Returns a function of images, parameters, buffers, labels and the real gradient: the gradient of D by the images, and D.

    It differentiates a gradient, which torch.compile takes as one graph; autograd's second pass would stay eager.
    """

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        with autocast(images.device, precision):
            logits = functional_call(network, (parameters, buffers), (images,))
        return F.cross_entropy(logits.to(images.dtype), labels)

    def matching_loss(
        images: Tensor,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        labels: Tensor,
        real: Sequence[Tensor],
    ) -> Tensor:
        return distance(tuple(grad(loss)(parameters, buffers, images, labels).values()), real)

    return grad_and_value(matching_loss)


class Matching(ImageMethod[Settings]):
    """Gradient matching; one unit of work is an update of the images or an SGD step of the network, by ``at`` alone."""

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
        self.round = 1 + inner * self.epoch  # units from one update to the next under the same network
        self.iteration = (self.outer - 1) * self.round + 1
        self.total = settings.iterations * self.iteration

        self.network = problem.network(problem.draws("network"))
        self.norms = [m for m in self.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        self.forward = problem.compiled(self.network)
        self.match = problem.compiled(
            image_gradient(self.network, DISTANCES[settings.distance], problem.settings.precision)
        )

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
        """Counts also the network, with a gradient for real and for distilled images."""
        return {**super().holds(common, settings, outline), "network": 3 * outline.weights(common.network)}

    @property
    def updates(self) -> int:
        """The number of updates of the images."""
        return self.settings.iterations * self.outer

    def advance(self) -> StepResult:
        """Trains the network for a step, or computes the gradient of L."""
        iteration, place = divmod(self.at, self.iteration)
        outer, step = divmod(place, self.round)
        self.at += 1
        if step:
            self._train(step - 1, iteration, outer)
            return StepResult(image_grad_ready=False)
        if outer == 0:
            initialise(self.network, self.problem.draws("network", iteration))
        draws = self.problem.draws("update", iteration, outer)
        self._freeze_norms(draws)
        self.images.grad, loss = self._differentiate(draws)
        return StepResult(image_grad_ready=True, metrics={"loss": loss / self.problem.classes})

    @torch.no_grad()
    def _freeze_norms(self, draws: torch.Generator) -> None:
        """Sets batch-norm statistics from a few real images in one pass; they stay while gradients are matched.

        The pass has the usual momentum, as in the official code: the statistics are still near their initial values.
        """
        if self.norms:
            self.network.train()
            self.network(self.problem.real(torch.cat(self.problem.batch(self.settling, draws))))
            self.network.eval()

    def _differentiate(self, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns the gradient of L by the images, and L; each class has one drawn augmentation."""
        problem, ipc = self.problem, self.problem.settings.ipc
        chosen = problem.batch(self.batch, draws)
        ops, numbers = draw(self.strategy, problem.classes, 1, draws)
        seen = apply(self.images, self.strategy, ops.repeat_interleave(ipc), numbers[:, 0].repeat_interleave(ipc, 0))
        parameters = {name: value.detach() for name, value in self.network.named_parameters()}
        buffers = dict(self.network.named_buffers())
        gradients, total = [], 0.0
        parts = zip(chosen, ops, numbers, seen.detach().split(ipc), self.labels.split(ipc), strict=True)
        for indices, op, row, images, labels in parts:
            count = len(indices)
            real = apply(problem.real(indices), self.strategy, op.expand(count), row.expand(count, -1))
            target = self._gradient(real, labels[:1].expand(count))
            gradient, distance = self.match(images, parameters, buffers, labels, target)
            gradients.append(gradient)
            total = total + distance.detach()
        return torch.autograd.grad(seen, self.images, torch.cat(gradients))[0], cast("Tensor", total)

    def _gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Returns the gradient of the mean cross-entropy by the network's parameters, ``method.chunk`` images at a time.

        Batch norms that are not frozen see all images at once.
        """
        parameters, learning = list(self.network.parameters()), self.norms and self.network.training
        chunk = len(images) if learning else self.problem.settings.chunk
        parts = []
        for part, classes in zip(images.split(chunk), labels.split(chunk), strict=True):
            with autocast(images.device, self.problem.settings.precision):
                logits = self.forward(part)
            loss = F.cross_entropy(logits.to(images.dtype), classes, reduction="sum") / len(images)
            parts.append(torch.autograd.grad(loss, parameters))
        return tuple(cast("Tensor", sum(each)) for each in zip(*parts, strict=True))

    def _train(self, step: int, iteration: int, outer: int) -> None:
        """Takes one SGD step of the network on synthetic images; DSA augments each by parameters of its own."""
        epoch, place = divmod(step, self.epoch)
        order = torch.randperm(len(self.images), generator=self.problem.draws("order", iteration, outer, epoch))
        index = order.split(self.settings.batch_train)[place].to(self.images.device)
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
        trained = (self.at - updates) * len(self.images) // self.epoch
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
