"""KRR-ST: images and target vectors learnt without labels, for pre-training (Lee et al., ICLR 2024, arXiv 2310.06511).

A network trained on the synthetic images X by plain regression to their targets Y should predict the features g(x) of
real images x under a self-supervised target model g, the first network of ``method.teacher``. The network's body φ is
one of a pool of partly trained ones, and only its last linear layer is fitted, in closed form (see ``families.ridge``):

    L(X, Y) = mean (K_xX (K_XX + λ I)^-1 Y - g(x))²

K_xX and K_XX are products of features of real with synthetic images, and of synthetic ones with each other. The mean is
over images and features.

An update draws a network of the pool, in eval mode, and a batch of real images, moves X and Y by AdamW at a rate that
falls linearly, and then trains that network for one step on all of the new X and Y. A network that has had
``pool_steps`` steps is replaced by a fresh one instead. Before the first update, network l of the pool learns from the
initial set for T_l ~ U{1 ... pool_steps - 1} steps.

As in the official code, and unlike in the paper's text where they differ:

- X are raw pixels, and the networks of the pool are given them as they are, while real images are normalised. g is
  given both normalised.
- λ is relative to the trace of K_XX, not, as in FRePo and KIP, to its mean diagonal.
- ``pool_reset`` published: the count of a network's steps is never set back, so that from the first time it is full, each
  draw of that network makes it anew. All are full after some 10,000 updates; from there on the kernel is that of random
  networks whose batch norms saw nothing. ``corrected`` counts from 0 again.
- ``crop_flip`` augments real images (the code as published). Without it, as in the first upload of the code, g's
  features of all real images are computed once, if they fit into ``CACHE``.

No label of the real images is read.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from distillation.augment.standard import crop_flip
from distillation.bounds import MOST, Copies, Count, Positive, Weight
from distillation.data.indexed import indices_on
from distillation.data.spaces import Space
from distillation.methods.base import Common, Problem, StepResult
from distillation.methods.cost import Cost, Outline
from distillation.methods.families.network_pool import NetworkPoolMethod
from distillation.methods.families.regressor import Regressor
from distillation.methods.families.ridge import predictions
from distillation.networks.build import build, flops
from distillation.params import Section
from distillation.runtime.errors import BadInput, Diverged
from distillation.runtime.transfers import to_device
from distillation.training.optimizers import set_rate

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet

PAD = 4  # pixels around a real image before it is cropped: the usual augmentation of CIFAR (He et al., 2016)
LAST = 0.001  # the learning rate at the end, relative to the first
CACHE = 4 << 30  # house: bytes of g's features that are cached, little beside a card's memory


class Settings(Section):
    """The settings of KRR-ST.

    Attributes:
        images: number of synthetic images; None: ``method.ipc`` times the number of classes.
        iterations: updates of images and targets.
        lr: learning rate of images and targets at first; it falls along a line to a thousandth.
        batch_real: real images of an update.
        crop_flip: whether real images are augmented by random crops and mirroring.
        ridge: λ relative to the trace of the kernel.
        pool: number of networks, trained by SGD.
        pool_steps: steps after which a network is replaced.
        pool_reset: whether the count of its steps then stays (``published``) or starts again from 0 (``corrected``).
        pool_lr: learning rate of the networks.
        pool_momentum: momentum of the networks.
        pool_decay: weight decay of the networks.
    """

    images: Count | None
    iterations: Count
    lr: Positive
    batch_real: Count
    crop_flip: bool
    ridge: Weight
    pool: Copies
    pool_steps: int = Field(ge=2, le=MOST)
    pool_reset: Literal["published", "corrected"]
    pool_lr: Positive
    pool_momentum: float = Field(ge=0, lt=1)
    pool_decay: Weight


class KRRST(NetworkPoolMethod[Settings]):
    """Self-supervised kernel regression.

    Units of work are, in this order: batches of features that are cached, the first steps of the networks, and updates.
    Guidance does not apply: the images have no classes.

    Raises:
        BadInput: the first network of ``method.teacher`` has no features, or more real images are to be drawn than
            there are.

    Attributes:
        target_model: g, a function from inputs (n, C, S, S) to features (n, D).
        starts: steps of each network before the first update.
        cache: features (N, D) of all training images under g; None if they are computed in each update.
        cache_units: units of work that fill the cache.
        before: units of work before the first update.
    """

    guided = False
    kind = "features"

    @classmethod
    def reads_teachers(cls, settings: Settings) -> bool:
        """Returns True: the target model is a teacher."""
        return True

    @classmethod
    def check_images(cls, common: Common, settings: Settings, total: int) -> None:
        """Raises BadInput if ``images`` is more than there are real ones to begin from; noise has no such bound."""
        if common.init == "real" and (settings.images or 0) > total:
            raise BadInput(f"method.krr_st.images asks for {settings.images} images, but the dataset has {total}.")

    def __init__(self, problem: Problem, settings: Settings) -> None:
        super().__init__(problem, settings, settings.batch_real)
        self.target_model = problem.compiled(problem.embedder.embed)
        # Y begins as g's features of the initial images, which are raw
        self.targets = self._targets(problem.data.space.encode(self.images.detach())).requires_grad_()
        self.optimizer = torch.optim.AdamW([self.images, self.targets], settings.lr, weight_decay=0.0)
        self.pool = [self._regressor(place) for place in range(settings.pool)]
        draws = problem.draws("pool steps")
        self.starts = torch.randint(1, settings.pool_steps, (settings.pool,), generator=draws).tolist()
        count, width = len(problem.data.train), self.targets.shape[1]
        # augmented images differ in every update, so their features cannot be kept
        fits = not settings.crop_flip and 4 * count * width <= CACHE
        self.cache = torch.zeros(count, width, device=problem.device) if fits else None
        self.cache_units = math.ceil(count / settings.batch_real) if fits else 0
        self.before = self.cache_units + sum(self.starts)
        self.total = self.before + settings.iterations

    def initial(self) -> tuple[Tensor, None]:
        """Returns the initial raw images (M, C, S, S), and None in place of classes.

        They are different real images, drawn from all classes together; or N(0, 1) noise in the dataset's space,
        decoded to raw pixels and not clamped.

        Raises:
            BadInput: more real images are to be drawn than there are.
        """
        problem, data, total = self.problem, self.problem.data, len(self.problem.data.train)
        self.check_images(problem.settings, self.settings, total)
        count = self.settings.images or problem.settings.ipc * problem.classes
        if problem.settings.init == "noise":
            noise = torch.randn((count, *data.train.images.shape[1:]), generator=problem.draws("init"))
            return data.space.decode(to_device(noise, problem.device)), None
        return self._raw(torch.randperm(total, generator=problem.draws("init"))[:count]), None

    @property
    def updates(self) -> int:
        """The number of updates of the images."""
        return self.settings.iterations

    def advance(self) -> StepResult:
        """Caches features, trains a network for a step, or sets the gradients of images and targets to that of L."""
        unit, self.at = self.at, self.at + 1
        if unit < self.cache_units:
            rows = slice(unit * self.settings.batch_real, (unit + 1) * self.settings.batch_real)
            cache = self.cache
            assert cache is not None
            cache[rows] = self._targets(self.problem.real(torch.arange(len(cache))[rows]))
            return StepResult(image_grad_ready=False)
        if unit < self.before:
            # one network after the other: the first that has not had all its first steps
            regressor = next(r for r, start in zip(self.pool, self.starts, strict=True) if r.steps < start)
            self._train(regressor, self.images, self.targets)
            return StepResult(image_grad_ready=False)
        return self._match(unit - self.before)

    def _match(self, update: int) -> StepResult:
        """Sets the gradients of images and targets at an update; the metric ``loss`` is L."""
        embed = partial(self.embed, self._drawn(update).network.eval())
        real, real_targets = self._real(update)
        with torch.no_grad():
            real = self._features(embed, real)
        regressed = predictions(self._features(embed, self.images), self.targets, real, self.settings.ridge)
        loss = (regressed - real_targets).square().mean()
        self.images.grad, self.targets.grad = torch.autograd.grad(loss, (self.images, self.targets))
        self.loss = loss.detach()
        return StepResult(image_grad_ready=True, metrics={"loss": self.loss})

    def apply(self) -> None:
        """Moves images and targets, then trains or replaces the network of the update."""
        update = self.at - self.before - 1
        set_rate(self.optimizer, self.settings.lr * (1 - (1 - LAST) * update / self.settings.iterations))
        super().apply()
        regressor = self._drawn(update)
        if regressor.steps < self.settings.pool_steps:
            # on the images as they are now, after the optimiser's step
            self._train(regressor, self.images, self.targets)
            return
        regressor.reset(self.problem.draws("renewed", update))
        if self.settings.pool_reset == "corrected":
            regressor.steps = 0

    def _real(self, update: int) -> tuple[Tensor, Tensor]:
        """Returns the real images (n, C, S, S) of an update in the dataset's space, and their targets (n, D)."""
        data, index = self.problem.data, self._batch(update)
        images = self._raw(index)
        if self.settings.crop_flip:
            images = crop_flip(images, self.problem.draws("augment", update), data.info["flip"], PAD)
        images = data.space.encode(images)
        return images, self._targets(images) if self.cache is None else self.cache[to_device(index, self.cache.device)]

    def _raw(self, index: Tensor) -> Tensor:
        """Returns the training images (n, C, S, S) at ``index`` (n,), float32 in [0, 1]."""
        images = self.problem.data.train.images
        return cast("Tensor", images[to_device(index, indices_on(images))]).float() / 255

    @torch.no_grad()
    def _targets(self, images: Tensor) -> Tensor:
        """Returns the target model's features (n, D) of images in the dataset's space."""
        return self._features(self.target_model, self.problem.pool.take(images, self.problem.data.space))

    def _features(self, embed: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Returns features (n, F) float32, whatever the precision of the pass."""
        return self.problem.features(embed, images).float()

    def _regressor(self, place: int) -> Regressor:
        """Builds a network of the pool, with as many outputs as the target model has features."""
        common, settings, width = self.problem.settings, self.settings, self.targets.shape[1]
        network = build(common.network, *self.problem.data.shape[:2], width, self.problem.draws("pool", place))
        network = network.to(self.problem.device)
        options = {"momentum": settings.pool_momentum, "weight_decay": settings.pool_decay, "foreach": True}
        optimizer = torch.optim.SGD(network.parameters(), settings.pool_lr, **options)
        return Regressor(network, self.forward, optimizer, common.precision)

    def result(self) -> "DistilledSet":
        """Returns raw images with their learnt targets; the record has the pool of the target model as ``teacher``.

        Raises:
            Diverged: targets are not finite.
        """
        if not self.targets.isfinite().all():
            raise Diverged("the targets are not finite at the end: lower method.krr_st.lr.")
        pool = self.problem.pool.info["pool"]
        return self.problem.labelled_set(self.images, None, self.targets, self.kind, Space.raw(), teacher=pool)

    def state_dict(self) -> dict[str, Any]:
        """Returns images, targets, optimiser state, networks and cached features."""
        return {**super().state_dict(), "cache": self.cache}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        super().load_state_dict(state)
        self.cache = state["cache"] if state["cache"] is None else state["cache"].to(self.problem.device)

    def cost(self) -> Cost:
        """Counts the passes of the units so far through the networks of the pool and the target model."""
        images, batch, count = len(self.images), self.settings.batch_real, len(self.problem.data.train)
        updates = max(0, self.at - self.before)
        real = self._real_images(updates)
        taught = images + (real if self.cache is None else min(self.at * batch, count))
        student = flops(self.problem.settings.network, *self.problem.data.shape[:2], self.targets.shape[1])
        pool = self.problem.pool
        return _cost(student, pool.flops(pool.members[0].word), real, taught, images * (updates + self.network_steps))

    @classmethod
    def estimate(cls, common: Common, settings: Settings, outline: Outline) -> Cost:
        """Estimates the passes of all updates."""
        images, real = settings.images or common.ipc * outline.classes, settings.iterations * settings.batch_real
        student, target_model = outline.flops(common.network), outline.flops(outline.teacher)
        return _cost(student, target_model, real, real, 2 * settings.iterations * images)


def _cost(student: int, target_model: int, real: int, taught: int, moved: int) -> Cost:
    """Returns the Cost of ``real`` images forwards, ``moved`` ones both ways, and ``taught`` through the target model."""
    return Cost.of_passes(student, real + moved, moved) + Cost.of_passes(target_model, taught)


METHOD = KRRST
