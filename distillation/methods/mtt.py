"""MTT: matching training trajectories (Cazenavette et al., CVPR 2022, arXiv 2203.11932).

An expert, a teacher trained on the real images whose parameters were stored after every epoch (a pool with the
objective ``trajectory``), is at θ_0 after s epochs and at θ* after ``expert_epochs`` more. A student that sets out from
θ_0 and takes N steps of SGD on the synthetic images X, at a learning rate α that is learnt too, should arrive at θ*:

    θ_k+1 = θ_k - α g_k,   g_k = grad CE(θ_k, A_k(X_k), y_k)        L(X, α) = ||θ_N - θ*||² / ||θ_0 - θ*||²

A_k is siamese augmentation with parameters of its own for each image, X_k a batch of X in a random order. The N steps
are called a walk. Expert, s and all draws are named by the update and the step, so that the same walk can be taken
again. Three ways to the gradient:

- ``adjoint``, the default, keeps the N parameter vectors and walks back: from λ_N = dL/dθ_N

      dL/dX -= α (∂g_k/∂X)' λ_k+1,   dL/dα -= g_k' λ_k+1,   λ_k = λ_k+1 - α (∂g_k/∂θ)' λ_k+1

  It is exact. Of a ConvNet, eager and in fp32, the latest steps leave their traces (``networks.traced``), as many as
  ``ROOM`` holds; every other step is taken twice, with the graph or trace of one in memory.
- ``unrolled``, as published: the same gradient, by the graph of all N steps at once.
- ``tesla``, TESLA's approximation (Cui et al., ICML 2023, arXiv 2211.10586): θ_k is taken to be constant in the gradient of
  g_k, which leaves λ_k = λ_N. It is no longer the gradient of L, but the memory is that of one step too.

Unlike the official code, which shuffles the experts of a file and takes each once before the next file (``--load_all``: of
all, with replacement), experts are drawn with replacement, so that an update names its own; and a rate α that falls to 0 or
below ends the run with a sentence, where the code goes on. What either is worth was not measured. The code reports the
best of its tests, chosen on the test set; here the last set counts.

With guidance: at alpha 1 the teacher's gradient measured 0.1 to 3.5 times that of L on digits, so that alphas published for
other methods, some thousand, would drown it. An absolute alpha of 0.1 to 1, or 1 on ``method.guidance.scale`` relative, is
sane.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.func import functional_call, grad, grad_and_value

from distillation.augment.siamese import augment_batch
from distillation.bounds import Count, Positive, Weight
from distillation.methods.base import Common, ImageMethod, Problem, StepResult
from distillation.methods.cost import Cost, Outline
from distillation.methods.families.teacher_checks import require_same_inputs
from distillation.networks.build import extent
from distillation.networks.names import canonical, parse
from distillation.networks.traced import NUMBERS, Trace, Traced, traceable
from distillation.params import Section
from distillation.runtime.device import autocast
from distillation.runtime.errors import BadInput, Diverged
from distillation.runtime.graphs import graphed
from distillation.runtime.transfers import to_device

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet
    from distillation.networks.build import Network
    from distillation.teachers.settings import PoolSettings


ROOM = 2**28  # float32 numbers, 1 GiB, of the traces that wait for the way back


class Settings(Section):
    """The settings of MTT.

    Attributes:
        iterations: updates of the images.
        steps: N, steps of a student in each update.
        expert_epochs: epochs of the expert from θ_0 to θ*.
        max_start: s, the epoch of θ_0, is drawn from 0 to ``max_start`` - 1.
        batch_syn: synthetic images in a step; None: all.
        lr_img: learning rate of the images.
        momentum: of the SGD on the images and on α.
        lr_net: α at first.
        lr_lr: learning rate of α.
        gradient: the way to the gradient: ``adjoint``, ``unrolled`` or ``tesla``.
    """

    iterations: Count
    steps: Count
    expert_epochs: Count
    max_start: Count
    batch_syn: Count | None
    lr_img: Positive
    momentum: float = Field(ge=0, lt=1)
    lr_net: Positive
    lr_lr: Weight
    gradient: Literal["adjoint", "unrolled", "tesla"]


Step = Callable[[Tensor], tuple[Tensor, Tensor]]  # of all images (M, C, S, S), its augmented batch and the labels


class Student:
    """The cross-entropy of a network as a function of one vector of all its parameters, and its derivatives.

    Common arguments of its methods: ``vector`` (P,) of parameters, ``images`` (n, C, S, S), already augmented, and
    ``labels`` (n,) int64.

    Args:
        network: gives the architecture; its own weights are not used. The vector holds its parameters in order.
        chunk: images that pass together; sums over chunks are exact, so that the gradient is that of all.
        precision: ``fp32`` or ``bf16``.
        compile: whether ``torch.compile`` takes the gradient, and the gradient's gradient, as one graph each.

    Attributes:
        traced: the derivatives by hand, where they serve; else None, and they are PyTorch's.
    """

    def __init__(self, network: "Network", chunk: int, precision: str = "fp32", compile: bool = False) -> None:
        self.network, self.chunk, self.precision = network.requires_grad_(False), chunk, precision
        self.shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        device = next(network.parameters()).device
        fast = partial(graphed, device=device) if compile else lambda function: function
        gradient = grad(self.loss)
        self.traced = Traced(network) if _by_hand(network.name, precision, compile) else None

        def along(images: Tensor, vector: Tensor, labels: Tensor, direction: Tensor) -> Tensor:
            """Returns the product () of g and a direction (P,)."""
            return gradient(vector, images, labels) @ direction

        self._gradient = fast(gradient)
        self._product_gradients = {which: fast(grad_and_value(along, which)) for which in ((0,), (0, 1))}

    def loss(self, vector: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Returns the mean cross-entropy () of a batch; differentiable any number of times, and not in chunks."""
        parts = zip(self.shapes.items(), vector.split(self.sizes), strict=True)
        parameters = {name: part.view(shape) for (name, shape), part in parts}
        with autocast(images.device, self.precision):
            logits = functional_call(self.network, parameters, (images,))
        return F.cross_entropy(logits.to(vector.dtype), labels)

    def gradient(
        self, vector: Tensor, images: Tensor, labels: Tensor, keep: bool = False
    ) -> tuple[Tensor, list[Trace] | None]:
        """Returns g (P,), the gradient of the loss by the vector, and the traces of the chunks with ``keep``, if ``traced``."""
        g, traces = torch.zeros_like(vector), []
        for fraction, part, classes in self._parts(images, labels):
            if self.traced is None:
                own = self._gradient(vector, part, classes)
            else:
                own, trace = self.traced.gradient(vector, part, classes)
                traces += [trace] if keep else []
            g = g + fraction * own
        return g, traces or None

    def product_gradients(
        self,
        vector: Tensor,
        images: Tensor,
        labels: Tensor,
        direction: Tensor,
        bending: bool = True,
        traces: list[Trace] | None = None,
    ) -> tuple[Tensor, Tensor | int, Tensor | int]:
        """Differentiates the product g' v of the gradient g and a fixed vector v: products with second derivatives.

        Args:
            vector: (P,).
            images: (n, C, S, S).
            labels: (n,).
            direction: v (P,).
            bending: whether to differentiate by ``vector`` too; TESLA leaves that out.
            traces: what ``gradient`` returned for the same arguments; None: it is computed again where it serves.

        Returns:
            The derivative by the images (n, C, S, S); that by the vector (P,), or 0 without ``bending``; and g' v.
        """
        on_images, on_vector, value = [], 0, 0
        for number, (fraction, part, classes) in enumerate(self._parts(images, labels)):
            if self.traced is not None:
                trace = traces[number] if traces else self.traced.trace(vector, part, classes)
                derivatives = self.traced.product_gradients(vector, trace, direction, bending)
                part_value = derivatives[2]
            else:
                which = (0, 1) if bending else (0,)
                derivatives, part_value = self._product_gradients[which](part, vector, classes, direction)
            on_images.append(fraction * derivatives[0])
            value = value + fraction * part_value
            if bending:
                on_vector = on_vector + fraction * cast("Tensor", derivatives[1])
        return torch.cat(on_images), on_vector, value

    def steps_kept(self, images: Tensor) -> int:
        """Returns how many steps on such images (n, C, S, S) may leave their traces, 0 without any."""
        if self.traced is None:
            return 0
        classes = self.network.classifier.out_features
        return _fitting(len(images), extent(self.network.name, images.shape[1], images.shape[2], classes)[1])

    def _parts(self, images: Tensor, labels: Tensor) -> list[tuple[float, Tensor, Tensor]]:
        """Returns (fraction of all images, images, labels) of each chunk; the fraction weighs the chunk's mean loss."""
        return [
            (len(part) / len(images), part, classes)
            for part, classes in zip(images.split(self.chunk), labels.split(self.chunk), strict=True)
        ]


def retraced(
    student: Student,
    steps: Sequence[Step],
    start: Tensor,
    target: Tensor,
    lr: Tensor,
    images: Tensor,
    bending: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the gradient of L by the images and the learning rate by walking forwards, then back (see the module).

    Args:
        student: computes the loss of the network and its derivatives.
        steps: for each step a function of ``images`` that returns its augmented batch and the labels, the same at each
            call.
        start: θ_0 (P,).
        target: θ* (P,).
        lr: α, a Tensor ().
        images: all synthetic images X (M, C, S, S).
        bending: whether λ changes from step to step, which is exact; without, it is TESLA's approximation.

    Returns:
        The gradient of L by the images (M, C, S, S), that by α (), and L ().
    """
    path, kept, room = [start], [], 0
    for number, step in enumerate(steps):
        seen, labels = step(images)
        # the first steps have the largest batches, so that all count as the first
        room = student.steps_kept(seen) if number == 0 else room
        gradient, traces = student.gradient(path[-1], seen, labels, keep=number >= len(steps) - room)
        path.append(path[-1] - lr * gradient)
        kept.append(traces)
    difference, unit = path.pop() - target, (start - target).square().sum()
    direction = 2 * difference / unit  # λ_N
    on_images, on_lr = torch.zeros_like(images), torch.zeros_like(lr)
    for step in reversed(steps):
        # the step is taken again from a leaf of its own, so that the graph of this step alone is in memory
        leaf = images.detach().requires_grad_()
        with torch.enable_grad():
            seen, labels = step(leaf)
        on_seen, on_vector, value = student.product_gradients(
            path.pop(), seen.detach(), labels, direction, bending, kept.pop()
        )
        on_images -= lr * torch.autograd.grad(seen, leaf, on_seen)[0]
        on_lr -= value
        direction = direction - lr * on_vector
    return on_images, on_lr, difference.square().sum() / unit


def unrolled(
    student: Student, steps: Sequence[Step], start: Tensor, target: Tensor, lr: Tensor, images: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the same as ``retraced`` with ``bending`` by the graph of all steps at once; chunks are not used."""
    images, lr = images.detach().requires_grad_(), lr.detach().requires_grad_()
    vector = start.detach().requires_grad_()
    for step in steps:
        seen, labels = step(images)
        # the graph of the gradient is kept, so that the walk can be differentiated through it
        (gradient,) = torch.autograd.grad(student.loss(vector, seen, labels), vector, create_graph=True)
        vector = vector - lr * gradient
    loss = (vector - target).square().sum() / (start - target).square().sum()
    on_images, on_lr = torch.autograd.grad(loss, (images, lr))
    return on_images, on_lr, loss.detach()


ROUTES = {"adjoint": retraced, "unrolled": unrolled, "tesla": partial(retraced, bending=False)}


class MTT(ImageMethod[Settings]):
    """Trajectory matching; one unit of work is an update: a walk of a student and its gradient.

    Raises:
        BadInput: ``method.teacher`` is no pool of trajectories, or of other networks, too few epochs or other images.

    Attributes:
        experts: the members of the pool whose network is ``method.network``.
        lr: α, a Tensor () that requires a gradient.
        lowest: the least α so far, ().
        batches: positions of each batch in a random order of the images.
    """

    needs_logits = True
    learns_lr = True
    labels: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]: optional in ImageMethod, always set here
    variables = ("images", "lr")

    def __init__(self, problem: Problem, settings: Settings) -> None:
        super().__init__(problem, settings)
        pool, common = problem.pool, problem.settings
        _require_experts(pool.info["pool"], pool.info["objective"], pool.words, pool.info["settings"], common, settings)
        require_same_inputs("mtt", pool, problem.data)
        self.experts = [member for member in pool.members if canonical(member.word) == canonical(common.network)]
        self.total = settings.iterations
        self.lr = torch.tensor(settings.lr_net, device=self.images.device).requires_grad_()
        self.lowest = self.lr.detach().clone()
        groups = [
            {"params": [self.images], "lr": settings.lr_img},
            {"params": [self.lr], "lr": settings.lr_lr},
        ]
        self.optimizer = torch.optim.SGD(groups, momentum=settings.momentum)
        self.batches = torch.arange(len(self.labels)).split(settings.batch_syn or len(self.labels))
        network = problem.network(problem.draws("network"))  # for its layers alone: its weights are never used
        self.student = Student(network, common.chunk, common.precision, common.compile)

    @classmethod
    def check(cls, common: Common, settings: Settings, classes: int | None) -> None:
        """Raises BadInput if the network has batch norms, or a step has more images than there are."""
        if parse(common.network).norm == "BN":
            raise BadInput(
                f"method.network is {common.network}, whose batch norms carry statistics that are no part of a trajectory: "
                "mtt takes instance norm, as ConvNet has it, or none."
            )
        if classes and (batch := settings.batch_syn or 0) > (count := common.ipc * classes):
            raise BadInput(f"method.mtt.batch_syn is {batch}, but there are only {count} images.")

    @classmethod
    def check_teachers(cls, common: Common, settings: Settings, pool: "PoolSettings") -> None:
        """Raises BadInput if ``method.teacher`` has no experts for the students."""
        epochs = pool.training.model_dump() if pool.objective == "trajectory" else {}
        _require_experts(common.teacher, pool.objective, pool.networks, epochs, common, settings)

    def advance(self) -> StepResult:
        """Sets ``images.grad`` and ``lr.grad`` to the gradient of L; the metrics are ``loss``, L, and ``lr``, α."""
        update = self.at
        self.problem.begin_step()
        start, target = self._segment(self.problem.draws("segment", update))
        steps = [partial(self._seen, update, step) for step in range(self.settings.steps)]
        route = ROUTES[self.settings.gradient]
        # not by autograd on ``self.images``: each route returns the gradients, which the optimiser is then given
        gradients = route(self.student, steps, start, target, self.lr.detach(), self.images.detach())
        self.images.grad, self.lr.grad, loss = gradients
        self.at += 1
        return StepResult(image_grad_ready=True, metrics={"loss": loss, "lr": self.lr.detach()})

    def _segment(self, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws an expert and an epoch s, and returns its parameters θ_0 and θ*, each (P,)."""
        expert = self.experts[int(torch.randint(len(self.experts), (1,), generator=draws))]
        epoch = int(torch.randint(self.settings.max_start, (1,), generator=draws))
        pool = self.problem.pool
        return pool.parameters(expert, epoch), pool.parameters(expert, epoch + self.settings.expert_epochs)

    def _seen(self, update: int, step: int, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the augmented batch A_k(X_k) of a step of an update and its labels.

        Args:
            update: number of the update.
            step: number of the step in its walk.
            images: all synthetic images (M, C, S, S).

        Returns:
            Images (n, C, S, S), differentiable by ``images``, and labels (n,).
        """
        problem = self.problem
        epoch, place = divmod(step, len(self.batches))
        order = torch.randperm(len(images), generator=problem.draws("order", update, epoch))
        index = to_device(order[self.batches[place]], images.device)
        seen = augment_batch(images[index], problem.strategy, problem.draws("augment", update, step))
        return seen, self.labels[index]

    def apply(self) -> None:
        """Takes the optimiser's step on images and α, whose least value is kept for ``require_sound``."""
        super().apply()
        self.lowest = torch.minimum(self.lowest, self.lr.detach())  # NaN if α is

    def require_sound(self) -> None:
        """Checks the least α so far.

        Raises:
            Diverged: it is not above 0.
        """
        if not (rate := self.lowest.item()) > 0:  # nor when it is no number
            raise Diverged(
                f"the learning rate that mtt learns for its students is {rate:.3g}, not above 0: lower "
                "method.mtt.lr_lr or method.mtt.lr_img."
            )

    def result(self) -> "DistilledSet":
        """Returns the images with hard labels; the record has the learnt rate α as ``lr``."""
        return self.problem.hard_set(self.images, self.labels, lr=self.lr.item())

    def state_dict(self) -> dict[str, Any]:
        """Returns images, α, the optimiser's state, and the least α so far."""
        return {**super().state_dict(), "lowest": self.lowest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        super().load_state_dict(state)
        self.lowest = state["lowest"].to(self.lr.device)

    def cost(self) -> Cost:
        """Counts the passes of the walks so far, forwards and back."""
        sizes = [len(self.batches[step % len(self.batches)]) for step in range(self.settings.steps)]
        common, activations = self.problem.settings, extent(self.problem.settings.network, *self.problem.data.shape)[1]
        again = sum(sizes[: len(sizes) - _kept(common, self.settings, sizes[0], activations)])
        return _cost(self.problem.forward_flops(), sum(sizes) * self.at, again * self.at, self.settings)

    @classmethod
    def holds(cls, common: Common, settings: Settings, outline: Outline) -> dict[str, float]:
        """Counts also the student's weights after each step of a walk, and the traces that wait for the way back."""
        weights, activations = outline.weights(common.network), outline.activations(common.network)
        seen = min(settings.batch_syn or common.ipc * outline.classes, common.ipc * outline.classes)
        traces = _kept(common, settings, seen, activations) * seen * activations * NUMBERS
        return {
            **super().holds(common, settings, outline),
            "network": weights,
            "mtt.steps": settings.steps * weights + traces,
        }

    @classmethod
    def estimate(cls, common: Common, settings: Settings, outline: Outline) -> Cost:
        """Estimates the passes of all walks."""
        seen = min(settings.batch_syn or common.ipc * outline.classes, common.ipc * outline.classes)
        walked, kept = settings.iterations * seen, _kept(common, settings, seen, outline.activations(common.network))
        flops = outline.flops(common.network)
        return _cost(flops, walked * settings.steps, walked * (settings.steps - kept), settings)


def _by_hand(network: str, precision: str, compile: bool) -> bool:
    """Whether the student's derivatives are those of ``networks.traced``."""
    return precision == "fp32" and not compile and traceable(parse(network))


def _fitting(images: int, activations: int) -> int:
    """Returns how many steps' traces fit into ``ROOM``.

    Args:
        images: images of a step.
        activations: numbers that the convolutions and the classifier put out for one image.
    """
    return ROOM // (images * activations * NUMBERS)


def _kept(common: Common, settings: Settings, images: int, activations: int) -> int:
    """Returns how many steps of a walk leave their traces; see ``_fitting``."""
    by_hand = settings.gradient != "unrolled" and _by_hand(common.network, common.precision, common.compile)
    return min(_fitting(images, activations), settings.steps) if by_hand else 0


def _cost(flops: int, walked: int, again: int, settings: Settings) -> Cost:
    """Returns the Cost of walks whose steps pass ``walked`` images in all, and ``again`` of them once more on the way back.

    With ``gradient`` ``unrolled`` none passes twice, for all steps are in memory. What passes again goes back without a
    gradient by the weights where the derivatives are by hand; it is counted as a full backward pass.
    """
    again = 0 if settings.gradient == "unrolled" else again
    return Cost.of_passes(flops, walked + again, walked + again, second=walked)


def _require_experts(
    name: str, objective: str, words: Sequence[str], training: Mapping[str, Any], common: Common, settings: Settings
) -> None:
    """Checks that a pool has experts for the students, from its settings or its record.

    Args:
        name: name of the pool, for messages.
        objective: objective of the pool.
        words: network names of its teachers.
        training: settings of their training, whose ``epochs`` is the length of a trajectory.
        common: the section ``method``.
        settings: the section ``method.mtt``.

    Raises:
        BadInput: the objective is not ``trajectory``, no teacher is of ``method.network``, or trajectories end before
            θ* of the latest start.
    """
    if objective != "trajectory":
        raise BadInput(
            f"method.teacher is {name!r}, whose objective is {objective}: mtt retraces a pool whose objective is trajectory."
        )
    if canonical(common.network) not in map(canonical, words):
        raise BadInput(
            f"method.network is {common.network}, but the experts of {name} are {', '.join(words)}: mtt's students take the "
            "steps of a network of their own kind."
        )
    if (last := settings.max_start - 1 + settings.expert_epochs) > training["epochs"]:
        raise BadInput(
            f"method.mtt.max_start and expert_epochs reach epoch {last}, but the trajectories of {name} end after "
            f"{training['epochs']}."
        )


METHOD = MTT
