"""Recovery of images from a network's batch norms: SRe2L, CDA and SC-DD (arXiv 2306.13092, 2311.18838, 2404.07976).

Images begin as noise. They are optimised to be classified as their class by a frozen network trained on the real data, with
batch statistics that match those of training. A block has one image of each of its classes, and one loss:

    L = CE + r_bn · sum_l w_l (||mean_l - running mean_l|| + ||var_l - running var_l||)

CE is the mean cross-entropy of the block; mean_l and var_l are computed on the block, the running ones were seen in
training. The sum is over the inputs of all batch norms l, with plain (not squared) norms over channels, the biased
variance, and w = first_bn for the first batch norm, 1 for the others. The official code has two priors as well, which
every published command leaves at 0: tv_l2 times the norms of the differences to the right, lower and both diagonal
neighbours, and l2 times the mean norm of an image.

The images of one class differ in their noise and their draws alone. The i-th is named by i, and is the same in whatever
range of images it is made. So each index is a shard of its own.
"""

import copy
from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from distillation.augment import crops
from distillation.bounds import Count, Positive, Roll, Weight, Whole
from distillation.methods.base import Common, ImageMethod, Problem, StepResult
from distillation.methods.cost import Cost, Outline
from distillation.params import Section
from distillation.runtime.device import autocast
from distillation.runtime.errors import BadInput
from distillation.runtime.graphs import graphed
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.training.optimizers import set_rate
from distillation.training.schedules import cosine

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


class RecoverSettings(Section):
    """The settings of recovery.

    In each update the block is cropped (and resized to its full size), mirrored and rolled: one box, one mirror and one
    roll for all its images. The images themselves stay as they are; the loss is that of the changed copy.

    Attributes:
        first: index of the first image of each class; ``first`` to ``first`` + ipc - 1 are made.
        batch: classes in a block. The batch-norm statistics are those of the block, one image of each class.
        iterations: updates of a block.
        lr: learning rate of Adam at first; it falls along a cosine to nearly 0.
        r_bn: weight of the distance of the batch-norm statistics.
        first_bn: weight of the first batch norm in this distance; the others have 1.
        tv_l2: weight of the total variation (``variation``); 0 as published.
        l2: weight of the mean norm of an image; 0 as published.
        crop: least area of a random crop, as a fraction of the image; 0: no crop.
        flip: whether images are mirrored half of the time, if that keeps the class.
        jitter: least and most pixels, both inclusive, by which images are rolled down and to the right.
        verify: whether progress shows the accuracy of the first network of ``method.guidance.teacher`` on the images.
    """

    first: Whole
    batch: Count
    iterations: Count
    lr: Positive
    r_bn: Weight
    first_bn: Weight
    tv_l2: Weight
    l2: Weight
    crop: float = Field(ge=0, le=1)
    flip: bool
    jitter: list[Roll] = Field(min_length=2, max_length=2)
    verify: bool

    @field_validator("jitter")
    @classmethod
    def _range(cls, value: list[int]) -> list[int]:
        if value[0] > value[1]:
            raise ValueError("should be the least and the most pixels, in this order")
        return value


Recovering = TypeVar("Recovering", bound=RecoverSettings)  # CDA's settings have one field more


class Recover(ImageMethod[Recovering]):
    """Recovery of images ``problem.shard`` to ``problem.shard + ipc - 1`` of each class.

    A unit of work is an update of a block.

    Blocks are optimised one after another, from noise each: ``images``, ``labels`` and ``optimizer`` are those of the
    current one. The cross-entropy is that of ``method.teacher``; guidance adds that of other teachers on the current
    block.

    Raises:
        BadInput: the teacher, or with ``verify`` the guiding pool, has other classes than the dataset; or the teacher
            has no batch norms.

    Attributes:
        recovered: images of the finished blocks, in the order of ``units``.
        network: the teacher as a function that returns logits and the distance of its batch-norm statistics.
        verifier: function that computes the accuracy of ``verify``; None without.
    """

    reads_batch_norms = True
    labels: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]: optional in ImageMethod, always set here

    @classmethod
    def reads_guides(cls, common: Common, settings: Recovering) -> bool:
        """Whether guidance or ``verify`` is on."""
        return common.guided or settings.verify

    def __init__(self, problem: Problem, settings: Recovering) -> None:
        super().__init__(problem, settings)
        self.total = len(self.units) * settings.iterations
        self.recovered: list[Tensor] = []
        pool = problem.pool
        if pool.classes != problem.data.classes:
            raise BadInput(
                f"method.teacher is {pool.info['pool']!r}, whose classes are not those of the dataset: "
                f"{problem.settings.name} asks it for each image's class."
            )
        self.network = monitored(pool.network(pool.members[0]), settings.first_bn, problem.settings.compile)
        self.verifier = _verifier(problem) if settings.verify else None

    @classmethod
    def shards(cls, common: Common, settings: Recovering) -> range:
        """Returns the indices of the images of a class: each index, with one image of every class, is a shard."""
        return range(settings.first, settings.first + common.ipc)

    @cached_property
    def blocks(self) -> tuple[Tensor, ...]:
        """The classes of each block, (n,) int64 on the device; the last block may be smaller."""
        return torch.arange(self.problem.classes, device=self.problem.device).split(self.settings.batch)

    @cached_property
    def units(self) -> list[tuple[int, int]]:
        """The (index of the image, number of the block) of all blocks of images, in the order in which they are made.

        Here alone "unit" is a block of images, not a unit of work: each takes ``iterations`` units of work.
        """
        indices = range(self.problem.shard, self.problem.shard + self.problem.settings.ipc)
        return list(product(indices, range(len(self.blocks))))

    @property
    def unit(self) -> tuple[int, int]:
        """The index of the images and the number of the block of the next update."""
        return self.units[self.at // self.settings.iterations]

    def initial(self) -> tuple[Tensor, Tensor]:
        """Returns N(0, 1) noise (n, C, S, S) for the current block, whatever ``method.init``, and its classes (n,)."""
        labels = self.blocks[self.unit[1]]
        shape = (len(labels), *self.problem.data.train.images.shape[1:])
        return to_device(torch.randn(shape, generator=self._draws("noise")), self.problem.device), labels

    def begin(self) -> None:
        """Starts the next block from noise, with a fresh optimiser."""
        super().begin()
        self.optimizer = torch.optim.Adam([self.images], self.settings.lr, betas=(0.5, 0.9))  # the published betas

    def _draws(self, purpose: str, *index: int) -> torch.Generator:
        """Returns a generator named by the image's index and its block, not by the shard.

        ``Problem.draws`` names the shard, and so would give an image other draws in a set that is divided otherwise.
        """
        common = self.problem.settings
        return generator(common.seed, common.name, purpose, *self.unit, *index)

    def advance(self) -> StepResult:
        """Sets ``images.grad`` to that of L; metrics are ``loss``, its parts ``ce`` and ``bn``, and ``verified``."""
        iteration = self.at % self.settings.iterations
        self.problem.begin_step()
        loss, parts = self._loss(self._view(iteration))
        (self.images.grad,) = torch.autograd.grad(loss, self.images)
        self.at += 1
        values = {"loss": loss.detach(), **parts}
        if self.verifier:
            values["verified"] = self.verifier(self.images.detach(), self.labels)
        return StepResult(image_grad_ready=True, metrics=values)

    def _view(self, iteration: int) -> Tensor:
        """Returns the block cropped, mirrored and rolled, differentiably."""
        settings, images, draws = self.settings, self.images, self._draws("update", iteration)
        if settings.crop:
            images = crops.cut(images, crops.resized(1, images.shape[2], (self.lowest(iteration), 1.0), draws))
        if settings.flip and self.problem.data.info["flip"] and float(torch.rand((), generator=draws)) < 0.5:
            images = images.flip(3)
        low, high = settings.jitter
        return images.roll(torch.randint(low, high + 1, (2,), generator=draws).tolist(), (2, 3))

    def lowest(self, iteration: int) -> float:
        """Returns the least area of a crop at an iteration, as a fraction of the image; CDA lets it fall."""
        return self.settings.crop

    def _loss(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns L () of the changed block, and its parts by name, detached: cross-entropy, distance of statistics."""
        settings = self.settings
        inputs = self.problem.pool.take(images, self.problem.data.space)
        with autocast(images.device, self.problem.settings.precision):
            logits, deviation = self.network(inputs)
        entropy = F.cross_entropy(logits.float(), self.labels)
        loss = entropy + settings.r_bn * deviation
        if settings.tv_l2:
            loss = loss + settings.tv_l2 * variation(images)
        if settings.l2:
            loss = loss + settings.l2 * images.flatten(1).norm(dim=1).mean()
        return loss, {"ce": entropy.detach(), "bn": deviation.detach().clone()}  # the graph's own

    def apply(self) -> None:
        """Takes a step of Adam at a rate that falls along a cosine, then clamps the images to the range of pixels.

        After the last step of a block it stores the block and begins the next.
        """
        settings, space = self.settings, self.problem.data.space
        iteration = (self.at - 1) % settings.iterations  # ``advance`` has counted the unit already
        set_rate(self.optimizer, settings.lr * cosine(iteration, settings.iterations))
        super().apply()
        with torch.no_grad():
            self.images.copy_(space.encode(space.decode(self.images).clamp(0, 1)))
        if iteration + 1 == settings.iterations:
            self.recovered.append(self.images.detach().clone())
            if self.at < self.total:
                self.begin()

    def result(self) -> "DistilledSet":
        """Returns the images of all blocks with hard labels, in the order of their classes."""
        common = self.problem.settings
        # recovered index by index, each with all classes: from (ipc, classes) to (classes, ipc)
        images = torch.cat(self.recovered).unflatten(0, (common.ipc, -1)).transpose(0, 1).flatten(0, 1)
        return self.problem.hard_set(images, self.problem.labels())

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the current block, the optimiser's state and the finished blocks."""
        return {**super().state_dict(), "recovered": self.recovered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.at, self.recovered = state["at"], [images.to(self.problem.device) for images in state["recovered"]]
        if self.at < self.total:
            # gives images and optimiser the shape of the current block, which may be smaller than the first
            self.begin()
            super().load_state_dict(state)

    def cost(self) -> Cost:
        """Counts the passes of the updates so far through the teacher, and those of ``verify``."""
        sizes = [len(self.blocks[block]) for _, block in self.units]
        done, rest = divmod(self.at, self.settings.iterations)
        images = self.settings.iterations * sum(sizes[:done]) + rest * sum(sizes[done : done + 1])
        pool = self.problem.pool
        cost = Cost.of_passes(pool.flops(pool.members[0].word), images, images)
        if not self.verifier:
            return cost
        guides = self.problem.guide_pool
        return cost + Cost.of_passes(guides.flops(guides.members[0].word), images)

    @classmethod
    def holds(cls, common: Common, settings: Recovering, outline: Outline) -> dict[str, float]:
        """Counts the images alone: gradient and momentum exist only for one block at a time."""
        return {"ipc": super().holds(common, settings, outline)["ipc"] / 3}

    @classmethod
    def estimate(cls, common: Common, settings: Recovering, outline: Outline) -> Cost:
        """Estimates the passes of all updates through the teacher, without ``verify``."""
        images = settings.iterations * common.ipc * outline.classes
        return Cost.of_passes(outline.flops(outline.teacher), images, images)


class BatchNormMonitor(nn.Module):
    """A network that also measures how far the inputs of its batch norms are from those of training.

    Hooks before each batch norm compare mean and variance of its inputs with the running statistics. The network stays
    in eval mode: it normalises by the running statistics, and does not change them.

    Args:
        network: frozen and in eval mode; it is copied, so that the hooks do not stay on the pool's network.
        first: weight of the first batch norm, in the order of the modules; the others have 1.

    Raises:
        BadInput: the network has no batch norms.
    """

    def __init__(self, network: nn.Module, first: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        norms = [module for module in self.network.modules() if isinstance(module, nn.BatchNorm2d)]
        if not norms:
            raise BadInput(
                "method.teacher begins with a network without batch norms, whose statistics are wanted here."
            )
        for norm, weight in zip(norms, [first] + [1.0] * (len(norms) - 1), strict=True):
            norm.register_forward_pre_hook(partial(self._measure, weight))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits (N, K) of images (N, C, H, W), and the weighted distance of the statistics ().

        The distance is the sum over batch norms of ||mean - running mean|| + ||var - running var||.
        """
        self.deviations: list[Tensor] = []
        logits = self.network(images)
        return logits, cast("Tensor", sum(self.deviations))

    def _measure(self, weight: float, norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        """Adds the distance at one batch norm to ``deviations``; a hook that runs before its forward pass."""
        mean_seen, variance_seen = norm.running_mean, norm.running_var
        assert mean_seen is not None and variance_seen is not None
        values = inputs[0].to(mean_seen.dtype)  # sums in full precision, whatever the network runs in
        variance, mean = torch.var_mean(values, (0, 2, 3), correction=0)  # biased, as in the official code
        deviation = (mean - mean_seen).norm() + (variance - variance_seen).norm()
        self.deviations.append(weight * deviation)


@lru_cache(maxsize=1)
def monitored(network: nn.Module, first: float, compile: bool) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Returns a BatchNormMonitor, compiled or not; arguments as there.

    It is kept for the last network: all shards of one process share it, and the compilation.
    """
    monitor = BatchNormMonitor(network, first)
    return graphed(monitor, next(network.parameters()).device) if compile else monitor


def variation(images: Tensor) -> Tensor:
    """Returns the total variation () of images (N, C, H, W), as in the official code.

    It is the sum of four Euclidean norms, each over the whole batch: of the differences between all pixels and their
    right, lower and two lower diagonal neighbours.
    """
    right = images[:, :, :, 1:] - images[:, :, :, :-1]
    below = images[:, :, 1:] - images[:, :, :-1]
    falling = images[:, :, 1:, 1:] - images[:, :, :-1, :-1]
    rising = images[:, :, :-1, 1:] - images[:, :, 1:, :-1]
    norms = (difference.norm() for difference in (right, below, falling, rising))
    return cast("Tensor", sum(norms))


def _verifier(problem: Problem) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns a function that computes the accuracy of the first network of ``method.guidance.teacher`` on images.

    Its arguments are images (N, C, S, S) in the dataset's space and their classes (N,); it returns percent, a Tensor
    ().

    Raises:
        BadInput: its classes are not those of the dataset.
    """
    pool = problem.guide_pool
    if pool.classes != problem.data.classes:
        raise BadInput(
            f"method.{problem.settings.name}.verify asks the pool method.guidance.teacher, {pool.info['pool']!r}, whose "
            "classes are not those of the dataset: name another, or set it to false."
        )
    network = pool.network(pool.members[0])

    @torch.no_grad()
    def verified(images: Tensor, labels: Tensor) -> Tensor:
        inputs = pool.take(images, problem.data.space, problem.settings.guidance.adapt)
        return 100 * (network(inputs).argmax(1) == labels).float().mean()

    return verified
