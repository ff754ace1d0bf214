"""APM: adversarial prediction matching (Chen et al., 2023, arXiv 2312.08912).

A student learns to match, on the synthetic images u, the logits of a teacher trained on the real ones. Then the images move
to where K snapshots s_k of that student still disagree with the teacher t, while the teacher keeps their class:

    L(u) = - sum_k mean |s_k(u) - t(u)|  +  ce · CE(t(u), y)        means over images and classes, on logits

``loss`` is the loss by which students learn: ``l1`` on logits, or ``ce`` on the teacher's probabilities. Images always
move by the L1 distance, as in the official code. The paper puts a logarithm and a weight on the distance, its code
neither; here it is as in the code.

Every ``refresh`` updates a teacher is drawn and a fresh student trained on the batch of that update, by SGD with
siamese augmentation (parameters of its own for each image) and a rate that falls once, after half of its epochs. The
next updates keep both and draw new batches. In the official code this number is ``mid_gap``, which is one less than
``refresh``. That code also counts to the last number inclusively: 251 epochs with snapshots after 51, 101, ..., 251 and
2501 updates, where here are 250 epochs with snapshots after 50, 100, ..., 250 and 2500 updates.

The teacher's pass is the same for every snapshot, so it is computed once: the gradients of the distances by its logits are
summed and go back through it together. Images that an update leaves out do not stand still, since momentum moves them on;
``SparseSGD`` makes up for it when they are next drawn.
"""

import copy
import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from distillation.bounds import Copies, Count, Positive, Weight
from distillation.methods.base import Common, Method, Problem, StepResult, gradient_of
from distillation.methods.cost import Cost, Outline
from distillation.methods.families.teacher_checks import require_same_inputs
from distillation.networks.build import flops, initialise
from distillation.networks.chunks import in_chunks
from distillation.params import Section
from distillation.runtime.device import autocast, forget
from distillation.runtime.errors import BadInput, require_finite
from distillation.runtime.transfers import to_device
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.schedules import drop_times
from distillation.training.settings import Milestone, TrainSettings

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


class Settings(Section):
    """The settings of APM.

    Attributes:
        iterations: updates of the images.
        loss: by which students learn, on the teacher's logits (``l1``) or probabilities (``ce``).
        lr_img: learning rate of the images at first.
        momentum: of the SGD on the images.
        milestones: updates, or fractions of ``iterations``, after which ``lr_img`` is multiplied by ``decay``.
        decay: that factor.
        ce: weight of the teacher's cross-entropy on the images in L.
        batch_syn: images of an update, and of the training of a student; None: all.
        update_syn: images whose gradient is computed at a time; None: ``method.chunk``. It trades memory for time.
        refresh: updates that share a teacher and a student.
        epochs: epochs of the training of a student.
        snapshots: number K of moments at which the weights of a student are kept, equally far apart; it divides
            ``epochs``.
        batch_net: images in a step of a student.
        lr_net: learning rate of the students at first; it is multiplied by ``decay_net`` after half of the epochs.
        momentum_net: of the SGD of the students.
        weight_decay: of the SGD of the students.
        decay_net: see ``lr_net``.
        shards: independent problems that the set is divided into (``Method.shards``); the method itself sees one of
            them.
    """

    iterations: Count
    loss: Literal["l1", "ce"]
    lr_img: Positive
    momentum: float = Field(ge=0, lt=1)
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)
    ce: Weight
    batch_syn: Count | None
    update_syn: Count | None
    refresh: Count
    epochs: Count
    snapshots: Copies
    batch_net: Count
    lr_net: Positive
    momentum_net: float = Field(ge=0, lt=1)
    weight_decay: Weight
    decay_net: float = Field(gt=0, le=1)
    shards: Copies

    @model_validator(mode="before")
    @classmethod
    def _published_name(cls, values: object) -> object:
        if isinstance(values, dict) and "mid_gap" in values:
            raise ValueError("has no mid_gap but refresh, which is the published mid_gap + 1: 3 for mid_gap 2")
        return values

    @model_validator(mode="after")
    def _equally_far_apart(self) -> Self:
        if self.epochs % self.snapshots:
            raise ValueError(
                f"takes {self.snapshots} snapshots equally far apart, but they do not divide {self.epochs} epochs"
            )
        return self

    @property
    def student(self) -> dict[str, Any]:
        """The fields of the TrainSettings of a student, by name, except for ``augment``."""
        return {
            "epochs": self.epochs,
            "batch": self.batch_net,
            "lr": self.lr_net,
            "momentum": self.momentum_net,
            "weight_decay": self.weight_decay,
            "milestones": [max(1, self.epochs // 2)],
            "decay": self.decay_net,
        }


class SparseSGD:
    """SGD with momentum on a few images a step, equal to SGD on all images with a gradient of zero for the others.

    An image left out of n steps has moved by its velocity times lr_1 m + ... + lr_n m^n (lr_k is the rate of the k-th
    of these steps), and its velocity has shrunk by m^n. Both are applied in closed form when the image is next drawn,
    so that a step costs as much as its batch, however large the set is.

    Call ``drawn``, compute the gradient, and call ``step`` with the same indices.

    Args:
        images: (N, C, H, W), changed in place.
        lr: learning rate of the first steps.
        momentum: m, at least 0 and below 1.
        milestones: numbers of steps after which the rate is multiplied by ``decay``.
        decay: that factor.

    Attributes:
        images: all images; of those left out of the last steps, the state after their own last step or draw.
        velocity: the momentum buffer of each image, of the same shape.
        steps: number of steps taken.
        since: for each image (N,), the number of steps after which it was last brought up to date.
    """

    def __init__(self, images: Tensor, lr: float, momentum: float, milestones: Sequence[int], decay: float) -> None:
        self.images, self.velocity = images, torch.zeros_like(images)
        self.lr, self.momentum, self.milestones, self.decay = lr, momentum, sorted(milestones), decay
        self.steps = 0
        self.since = torch.zeros(len(images), dtype=torch.int64)

    def drawn(self, index: Tensor) -> Tensor:
        """Brings the images at ``index`` (n,) up to date with all steps so far.

        Args:
            index: (n,) int64 on the CPU, each once.

        Returns:
            A copy of these images, (n, C, H, W).
        """
        since, where = self.since[index], to_device(index, self.images.device)
        velocity = self.velocity[where]
        self.images[where] -= self._each(self._reach(since)) * velocity
        self.velocity[where] = self._each(self.momentum ** (self.steps - since).double()) * velocity
        self.since[index] = self.steps
        return self.images[where]

    def step(self, index: Tensor, gradient: Tensor) -> None:
        """Takes one step of SGD with momentum on the images at ``index``.

        Args:
            index: (n,) int64 on the CPU, the argument of the last call of ``drawn``.
            gradient: of these images, (n, C, H, W).
        """
        where = to_device(index, self.images.device)
        self.velocity[where] = self.momentum * self.velocity[where] + gradient
        rate = self.lr * self.decay ** sum(milestone <= self.steps for milestone in self.milestones)
        self.images[where] -= rate * self.velocity[where]
        self.steps += 1
        self.since[index] = self.steps

    def _reach(self, since: Tensor) -> Tensor:
        """Returns lr_1 m + ... + lr_n m^n over the n steps after each of ``since`` (k,): (k,) float64."""
        # the rate is constant between milestones, so the sum over each stretch is a geometric series
        m, total = self.momentum, torch.zeros(len(since), dtype=torch.float64)
        for drops, (first, last) in enumerate(pairwise([0, *self.milestones, self.steps])):
            begin = since.clamp(min=first)
            # 0 for stretches before ``since``, and for those that begin at milestones still to come
            count = (min(last, self.steps) - begin).clamp(min=0)
            series = m * (1 - m ** count.double()) / (1 - m)
            total += self.lr * self.decay**drops * m ** (begin - since).double() * series
        return total

    def _each(self, factors: Tensor) -> Tensor:
        """Converts a factor for each image (n,) to the type and device of the images, as (n, 1, 1, 1)."""
        return to_device(factors, self.images.device).to(self.images.dtype).view(-1, 1, 1, 1)

    def state_dict(self) -> dict[str, Any]:
        """Returns images, velocities and progress."""
        return {"images": self.images, "velocity": self.velocity, "since": self.since, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.images.copy_(state["images"])
        self.velocity.copy_(state["velocity"])
        self.since.copy_(state["since"])
        self.steps = state["steps"]


class APM(Method[Settings]):
    """Adversarial prediction matching; one unit of work is an SGD step of a student, or the gradient of ``update_syn`` images.

    Raises:
        BadInput: the teachers were trained on other classes, sizes, channels or another space than those of the
            dataset.

    Attributes:
        images: the batch of the current update (n, C, S, S), a copy drawn from all of ``sgd.images``.
        labels: its classes (n,).
        sgd: all images, and the optimiser.
        all_labels: classes of all images (N,).
        batch: images of an update.
        chunk: images whose gradient is one unit of work.
        parts: units of work that the gradient of a batch takes.
        student: the network that is trained; ``critic`` is a copy that takes on the weights of its snapshots.
        teachers: by network name a network that takes on the weights of the drawn teacher.
        update: number of updates taken.
        training: the training of the current student; None if the next unit begins another.
        snapshots: weights of the current student, kept during its training.
        values: the metrics: ``loss`` L, ``discrepancy`` (the mean distance to a snapshot), ``ce``, and ``student``, the
            student's loss in its last complete epoch. Each keeps its value until it is computed again.
    """

    guided = True
    needs_logits = True
    images: Tensor
    labels: Tensor
    training: Training | None
    snapshots: list[dict[str, Tensor]]
    values: dict[str, float | Tensor]

    def __init__(self, problem: Problem, settings: Settings) -> None:
        super().__init__(problem, settings)
        require_same_inputs("apm", problem.pool, problem.data)
        milestones = drop_times(settings.milestones, settings.iterations)
        self.sgd = SparseSGD(problem.initial_images(), settings.lr_img, settings.momentum, milestones, settings.decay)
        self.all_labels = problem.labels()
        self.batch = settings.batch_syn or len(self.all_labels)
        self.chunk = settings.update_syn or problem.settings.chunk
        self.parts = math.ceil(self.batch / self.chunk)
        steps = settings.epochs * math.ceil(self.batch / settings.batch_net)
        self.total = self._students(settings.iterations) * steps + settings.iterations * self.parts

        # few networks take on the weights of many students, snapshots and teachers, so that each is compiled once
        self.student = problem.network(problem.draws("student"))
        self.critic = copy.deepcopy(self.student).eval().requires_grad_(False)
        words = {member.word: member for member in problem.pool.members}
        self.teachers = {word: copy.deepcopy(problem.pool.network(member)) for word, member in words.items()}
        if problem.settings.compile:
            forget()
            for network in (self.student, self.critic, *self.teachers.values()):
                network.compile(dynamic=False, isolate_recompiles=True)
        self.update, self.training, self.snapshots = 0, None, []
        self.values = dict.fromkeys(("loss", "discrepancy", "ce", "student"), math.nan)
        self._draw()

    @classmethod
    def check(cls, common: Common, settings: Settings, classes: int | None) -> None:
        """Raises BadInput if ``batch_syn`` is more than the images of a shard."""
        if classes and (batch := settings.batch_syn or 0) > (count := common.ipc * classes):
            of_each = " of each shard" if settings.shards > 1 else ""
            raise BadInput(f"method.apm.batch_syn is {batch}, but there are only {count} images{of_each}.")

    @property
    def updates(self) -> int:
        """The number of updates of the images."""
        return self.settings.iterations

    def advance(self) -> StepResult:
        """Takes a step of the student or, once it is trained, computes the gradient of the next ``chunk`` images."""
        self.at += 1
        training = self.training or self._begin_student()
        if not training.done:
            self._train(training)
            return StepResult(image_grad_ready=False, metrics=dict(self.values))
        ready = self._differentiate()
        return StepResult(image_grad_ready=ready, metrics=dict(self.values))

    def apply(self) -> None:
        """Updates the batch's images by their gradient, guidance included, and draws the next batch.

        Call it once ``advance`` has returned ``image_grad_ready``. After every ``refresh`` updates the student is dropped,
        so that the next ``advance`` begins another; ``images`` and ``labels`` become those of the next batch.
        """
        self.sgd.step(self.index, gradient_of(self.images))
        self.update += 1
        if self.update == self._window:  # a multiple of ``refresh``: the next update begins a window
            self.training = None
        self._draw()

    @property
    def _window(self) -> int:
        """The number of the update at which the current student and teacher began, or begin; it names their draws."""
        return self.update - self.update % self.settings.refresh

    def _students(self, updates: int) -> int:
        """Returns the number of students that ``updates`` updates take."""
        return math.ceil(updates / self.settings.refresh)  # the last window may be short, but it needs a student too

    def _draw(self) -> None:
        """Draws the batch of the next update from all images, up to date, and sets its gradient and sums to zero."""
        draws = self.problem.draws("batch", self.update)
        self.index = torch.randperm(len(self.all_labels), generator=draws)[: self.batch]
        images = self.sgd.drawn(self.index)
        self.images = images.requires_grad_()  # pyright: ignore[reportIncompatibleVariableOverride]: optional in Method alone
        labels = self.all_labels[to_device(self.index, images.device)]
        self.labels = labels  # pyright: ignore[reportIncompatibleVariableOverride]: optional in Method alone
        self.images.grad = torch.zeros_like(self.images)
        self.part, self.sums = 0, torch.zeros(2, dtype=torch.float64, device=images.device)

    def _begin_student(self) -> Training:
        """Draws a teacher, initialises a student, and begins its training on the teacher's logits for the batch.

        The logits are computed once, on images that are not augmented; the student sees augmented ones.
        """
        self._load_teacher()
        initialise(self.student, self.problem.draws("student", self._window))
        with torch.no_grad():
            logits = in_chunks(partial(self._logits, self.teacher), self.images.detach(), self.chunk)
        self.snapshots = []
        self.training = self._training(logits.softmax(1) if self.settings.loss == "ce" else logits)
        return self.training

    def _load_teacher(self) -> None:
        """Loads the weights of the drawn teacher into the compiled network of its name."""
        pool = self.problem.pool
        member = pool.draw(self.problem.draws("teacher", self._window))
        self.teacher = self.teachers[member.word]
        self.teacher.load_state_dict(pool.network(member).state_dict())

    def _training(self, targets: Tensor) -> Training:
        """Returns the Training of the student on the current batch, with ``targets`` (n, K), logits or softmax."""
        problem, images = self.problem, self.images.detach()
        self.targets = targets
        return Training(
            self.student,
            lambda index: (images[index], targets[index]),
            self.batch,
            loss_of(self.settings.loss),
            TrainSettings(**self.settings.student, augment=problem.strategy),
            problem.settings.seed,
            f"{problem.name}/student/{self._window}",
            problem.data.info["flip"],
            problem.settings.precision,
        )

    def _train(self, training: Training) -> None:
        """Takes one SGD step of the student; its weights are kept ``snapshots`` times, the last time at its end."""
        if finished := training.advance():
            self.values["student"] = finished[0]
            if training.epoch % (self.settings.epochs // self.settings.snapshots) == 0:
                self.snapshots.append({name: value.clone() for name, value in self.student.state_dict().items()})

    def require_sound(self) -> None:
        """Checks the last loss of the student.

        Raises:
            Diverged: it is not finite.
        """
        if self.update:
            moment = f"epoch {self.settings.epochs} of {self.settings.epochs}"
            require_finite({"the student's loss": float(self.values["student"])}, moment, "method.apm.lr_net")

    def _differentiate(self) -> bool:
        """Computes the gradient of L by the next ``chunk`` images; returns whether that completed the batch."""
        rows = slice(self.part * self.chunk, (self.part + 1) * self.chunk)
        gradient_of(self.images)[rows], sums = self._gradient(self.images.detach()[rows], self.labels[rows])
        self.sums += sums
        self.part += 1
        if self.part < self.parts:
            return False
        distance, entropy = self.sums.unbind()  # not read: that would wait for the device
        self.values |= {"loss": self.settings.ce * entropy - distance, "ce": entropy.clone()}
        self.values["discrepancy"] = distance / self.settings.snapshots
        return True

    def _gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the part of L that is due to some of the batch's images.

        Args:
            images: (n, C, S, S), some of the batch.
            labels: their classes (n,).

        Returns:
            The gradient of L by the images, and (2,) float64: their parts of the distance, summed over the snapshots k, and
            of the cross-entropy.
        """
        fraction = len(images) / self.batch  # turns means over a chunk into parts of the mean over the batch
        images.requires_grad_()  # a view of the detached batch, so that the graph is that of this chunk
        passed = self._logits(self.teacher, images)
        # the teacher's graph is cut at the logits: their gradients are summed over cross-entropy and snapshots, and go
        # back through the teacher once, at the end; the graph of one snapshot at a time is in memory
        logits = passed.detach().requires_grad_()
        entropy = fraction * F.cross_entropy(logits, labels)
        (on_logits,) = torch.autograd.grad(self.settings.ce * entropy, logits)
        on_images, distance = torch.zeros_like(images), 0.0
        for weights in self.snapshots:
            self.critic.load_state_dict(weights)
            apart = fraction * F.l1_loss(self._logits(self.critic, images), logits)
            for total, gradient in zip(
                (on_images, on_logits), torch.autograd.grad(apart, (images, logits)), strict=True
            ):
                total -= gradient  # minus: images move to where snapshots disagree with the teacher
            distance += apart.detach()
        on_images += torch.autograd.grad(passed, images, on_logits)[0]
        return on_images, torch.stack([cast("Tensor", distance), entropy.detach()]).double()

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """Returns logits (n, K) float32 in ``method.precision``."""
        with autocast(images.device, self.problem.settings.precision):
            return network(images).float()

    def result(self) -> "DistilledSet":
        """Brings all images up to date and returns them with hard labels."""
        self.sgd.drawn(torch.arange(len(self.all_labels)))
        return self.problem.hard_set(self.sgd.images, self.all_labels)

    def state_dict(self) -> dict[str, Any]:
        """Returns all images, the gradient of the batch so far, and the student with its snapshots."""
        training = self.training and {"targets": self.targets, "student": self.training.state_dict()}
        return {
            "at": self.at,
            "update": self.update,
            "sgd": self.sgd.state_dict(),
            "part": self.part,
            "gradient": gradient_of(self.images),
            "sums": self.sums,
            "training": training,
            "snapshots": self.snapshots,
            "values": self.values,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned; draws and teacher follow from the update."""
        self.at, self.update = state["at"], state["update"]
        self.sgd.load_state_dict(state["sgd"])
        self.snapshots, self.values = state["snapshots"], state["values"]
        self._draw()  # gives the batch its shape and labels; the partial gradient is put in afterwards
        self.part, self.sums = state["part"], state["sums"].to(self.images.device)
        gradient_of(self.images).copy_(state["gradient"])
        if state["training"]:
            self._load_teacher()
            self.training = self._training(state["training"]["targets"])
            self.training.load_state_dict(state["training"]["student"])

    def cost(self) -> Cost:
        """Counts the passes of students, snapshots and teachers; teachers count as the mean over the network names."""
        pool, settings = self.problem.pool, self.settings
        teacher = sum(flops(word, *pool.shape) for word in self.teachers) / len(self.teachers)
        labelled, moved = self._students(self.update) * self.batch, self.update * self.batch
        learnt = labelled * settings.epochs + moved * settings.snapshots
        student = Cost.of_passes(self.problem.forward_flops(), learnt, learnt)
        return student + Cost.of_passes(teacher, labelled + moved, moved)

    @classmethod
    def holds(cls, common: Common, settings: Settings, outline: Outline) -> dict[str, float]:
        """Counts the images and their momentum, and the snapshots of a student."""
        channels, size, classes = outline.shape
        weights = outline.weights(common.network)
        images = 2 * common.ipc * classes * channels * size**2
        return {"ipc": images, "network": weights, "apm.snapshots": settings.snapshots * weights}

    @classmethod
    def estimate(cls, common: Common, settings: Settings, outline: Outline) -> Cost:
        """Estimates the cost; the teacher counts as a student, since the pool may hold several networks."""
        images = common.ipc * outline.classes
        moved = settings.iterations * min(settings.batch_syn or images, images)
        passed = moved / settings.refresh * settings.epochs + moved * (settings.snapshots + 1)
        return Cost.of_passes(outline.flops(common.network), passed, passed)


METHOD = APM
