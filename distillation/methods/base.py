"""The contract of a distillation method: its settings, its problem, and its result."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor

from distillation.augment.strategy import operations, resolve
from distillation.bounds import Count, Weight, Whole
from distillation.data.distilled import DistilledSet
from distillation.data.indexed import indices_on
from distillation.data.real import RealSet, listed
from distillation.data.spaces import Space
from distillation.methods.cost import Cost, Outline
from distillation.networks.build import Network, build, flops
from distillation.networks.chunks import in_chunks
from distillation.params import Section
from distillation.runtime.device import autocast, compiled
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool
from distillation.training.optimizers import optimizer_state, restore_optimizer

if TYPE_CHECKING:
    from distillation.teachers.foreign import Foreign
    from distillation.teachers.settings import PoolSettings

MethodSettings = TypeVar("MethodSettings", bound=Section)  # a method's own section of params.yaml


class GuidanceSettings(Section):
    """The settings of guidance.

    Attributes:
        teacher: the name of the guiding pool.
        epoch: the checkpoints that guide: those kept under this name, or ``any``.
        distance: see ``guidance``: ce, as in the published code; or CLoM's contrastive ratio, by ce_ratio or cos.
        batch: real images in a ratio, drawn for each update.
        adapt: whether images may be converted to grey or RGB and resized for teachers trained on other shapes.
        scale: whether alpha is absolute (as published) or relative to the method's own gradient norm.
    """

    teacher: str
    epoch: Literal["any", "last", "best", "best_test"] | Count
    distance: Literal["ce", "ce_ratio", "cos"]
    batch: Count
    adapt: bool
    scale: Literal["absolute", "relative"]


class Common(Section):
    """The settings shared by all methods, in the section ``method``.

    Attributes:
        name: the method.
        ipc: images per class.
        seed: seed of every draw.
        network: the name of the network that the method trains or draws.
        init: start of the optimisation: random real images, or N(0, 1).
        augment: the siamese strategy, or ``auto``.
        alpha: the weight of guidance, one number or one for each network name of the pool.
        teacher: the pool that the method itself uses.
        guidance: settings of guidance.
        precision: ``fp32`` or ``bf16``.
        compile: whether networks are compiled.
        chunk: images that pass through a network together.
    """

    name: str
    ipc: Count
    seed: Whole
    network: str
    init: Literal["real", "noise"]
    augment: str
    alpha: Weight | dict[str, Weight]
    teacher: str
    guidance: GuidanceSettings
    precision: Literal["fp32", "bf16"]
    compile: bool
    chunk: Count

    @field_validator("augment")
    @classmethod
    def _strategy(cls, value: str) -> str:
        if value not in ("auto", "none"):
            operations(value)
        return value

    @property
    def guided(self) -> bool:
        """Whether any teacher has a weight above zero."""
        return weighs(self.alpha)


def weighs(alpha: float | dict[str, float]) -> bool:
    """Whether a guidance weight, or any of those by network name, is above zero."""
    return any(weight > 0 for weight in (alpha.values() if isinstance(alpha, dict) else [alpha]))


def check_guided(method: "type[Method]", common: Common) -> None:
    """Raises BadInput if guidance is set for a method without an image gradient."""
    if common.guided and not method.guided:
        raise BadInput(
            f"method.alpha is above 0, but {common.name} has no image gradient that guidance could join; set it to 0."
        )


def of_a_shard(method: "type[Method]", common: Common, settings: Section) -> tuple[range, Common]:
    """Returns the numbers of the shards, and the Common of each, with its part of the images per class.

    Raises:
        BadInput: the images of a class cannot be divided evenly.
    """
    shards = method.shards(common, settings)
    if common.ipc % len(shards):
        raise BadInput(
            f"method.ipc is {common.ipc}, which method.{common.name}.shards, {len(shards)}, does not divide: every shard "
            "makes as many images of a class."
        )
    return shards, common.model_copy(update={"ipc": common.ipc // len(shards)})


@dataclass
class Problem:
    """A method's task: real data on ``device``, common settings, teachers and guides.

    If a set is made in shards, each shard is a problem of its own, with its part of the images and its own draws.

    Attributes:
        data: the real dataset.
        settings: the section ``method``, with the ``ipc`` of the shard.
        device: of all tensors.
        teachers: the pool of ``method.teacher``; None for a method that does not read it.
        shard: the shard's number.
        guides: the pool of ``method.guidance.teacher``; None if nothing reads it.
    """

    data: RealSet
    settings: Common
    device: torch.device
    teachers: Pool | None
    shard: int = 0
    guides: Pool | None = None

    @property
    def pool(self) -> Pool:
        """The pool of ``method.teacher``, for methods that read it (``Method.reads_teachers``)."""
        assert self.teachers is not None
        return self.teachers

    @property
    def embedder(self) -> "Network | Foreign":
        """The first network of ``method.teacher``, for methods that read its features.

        Raises:
            BadInput: it has none.
        """
        first = self.pool.members[0]
        if not self.pool.has_features(first):
            raise BadInput(f"method.teacher is {self.pool.info['pool']!r}, whose {first.word} has no features.")
        return self.pool.network(first)

    @property
    def guide_pool(self) -> Pool:
        """The pool of ``method.guidance.teacher``, for methods that read it (``Method.reads_guides``)."""
        assert self.guides is not None
        return self.guides

    @property
    def name(self) -> str:
        """The prefix of the names of all draws."""
        return f"{self.settings.name}/shard {self.shard}" if self.shard else self.settings.name

    def draws(self, purpose: str, *index: int | str) -> torch.Generator:
        """Returns the generator named by ``method.seed``, ``purpose`` and ``index``."""
        return generator(self.settings.seed, self.name, purpose, *index)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.data.classes)

    @property
    def strategy(self) -> str:
        """The siamese strategy; ``auto`` leaves mirroring out if it changes the class."""
        return resolve(self.settings.augment, self.data.info["flip"])

    def labels(self) -> Tensor:
        """Returns labels (classes · ipc,) int64: every class ``ipc`` times, in order."""
        return torch.arange(self.classes, device=self.device).repeat_interleave(self.settings.ipc)

    def centred(self, labels: Tensor) -> Tensor:
        """Returns one-hot labels less 1 / C, (N, C) float32, of labels (N,)."""
        return F.one_hot(labels, self.classes).float() - 1 / self.classes

    def network(self, draws: torch.Generator) -> Network:
        """Builds a freshly initialised ``method.network`` on the device."""
        return build(self.settings.network, *self.data.shape, draws).to(self.device)

    def forward_flops(self) -> int:
        """Returns the floating-point operations of ``method.network`` on one image."""
        return flops(self.settings.network, *self.data.shape)

    def compiled(self, function: Callable) -> Callable:
        """Compiles a network or function if ``method.compile`` is set."""
        return compiled(function) if self.settings.compile else function

    def features(self, embed: Callable[[Tensor], Tensor], images: Tensor, chunk: int | None = None) -> Tensor:
        """Applies ``embed`` to images (N, C, S, S) in ``method.precision``, ``chunk`` at a time (None: ``method.chunk``)."""
        with autocast(images.device, self.settings.precision):
            return in_chunks(embed, images, chunk or self.settings.chunk)

    def pick(self, count: int, draws: torch.Generator) -> Tensor:
        """Draws the indices (classes, count) of ``count`` different training images of each class, on the CPU.

        Raises:
            BadInput: a class has fewer.
        """
        if short := self.data.shorter(count):
            raise BadInput(f"{count} images of each class are drawn, but the dataset has fewer of {listed(short)}.")
        return torch.stack(self.data.sample([count] * self.classes, draws))

    def batch(self, count: int, draws: torch.Generator) -> list[Tensor]:
        """Draws the indices (n,) of n different training images of each class, on the CPU.

        n is ``count``, or what the class has if that is less, as in the code of DC, DSA and DM.
        """
        return self.data.sample([count] * self.classes, draws)

    def batch_sizes(self, count: int) -> list[int]:
        """Returns the number of images of each class that ``batch`` draws."""
        return [min(count, len(members)) for members in self.data.members]

    def note_short(self, count: int) -> None:
        """Prints a note that names the classes of which ``batch`` draws fewer than ``count`` images, if there are any."""
        if short := self.data.shorter(count):
            print(
                f"note: method.{self.settings.name}.batch_real is {count}, but the dataset has fewer images of "
                f"{listed(short)}: these give all that they have.",
                file=sys.stderr,
            )

    def real(self, indices: Tensor) -> Tensor:
        """Returns the training images (N, C, S, S) at ``indices`` (N,), float32 in the dataset's space, on the device."""
        images = self.data.train.images
        return self.data.encode(images[indices.to(indices_on(images))])

    def initial_images(self) -> Tensor:
        """Returns the images (classes · ipc, C, S, S) that optimisation starts from, by ``method.init``."""
        shape = (self.classes * self.settings.ipc, *self.data.train.images.shape[1:])
        if self.settings.init == "noise":
            return torch.randn(shape, generator=self.draws("init")).to(self.device)
        return self.real(self.pick(self.settings.ipc, self.draws("init")).flatten())

    def hard_set(self, images: Tensor, labels: Tensor, **info: Any) -> DistilledSet:
        """Returns a DistilledSet with hard labels in the dataset's space."""
        return self.labelled_set(images, labels, None, "hard", **info)

    def labelled_set(
        self, images: Tensor, labels: Tensor | None, targets: Tensor | None, kind: str, space: Space | None = None,
        **info: Any,
    ) -> DistilledSet:  # fmt: skip
        """Returns a DistilledSet.

        Args:
            images: (N, C, S, S).
            labels: classes (N,), if the images have any.
            targets: label vectors (N, D), if the labels are soft.
            kind: the kind of the labels.
            space: of the images; None: that of the dataset.
            info: further entries of its record.
        """
        info = {
            "labels": kind,
            "feed": "stored",
            "method": self.settings.name,
            "ipc": self.settings.ipc,
            "seed": self.settings.seed,
            "classes": self.data.classes,
            "dataset": self.data.info["name"],
            **info,
        }
        targets = None if targets is None else targets.detach()
        return DistilledSet(images.detach(), labels, targets, space or self.data.space, info)


def gradient_of(images: Tensor) -> Tensor:
    """Returns the gradient of ``images``, which a method or guidance has set before."""
    assert images.grad is not None
    return images.grad


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The outcome of one unit of work.

    Attributes:
        image_grad_ready: whether ``images.grad`` is complete, so that ``apply`` comes next.
        metrics: values to display, by name.
    """

    image_grad_ready: bool
    metrics: Mapping[str, float | Tensor] = field(default_factory=dict)


class Method(Generic[MethodSettings]):
    """A distillation method.

    ``driver.updates`` calls ``advance`` (one bounded unit of work) ``total`` times, and ``apply`` after each unit that
    completes the image gradient; ``result`` comes at the end. Between any two units ``state_dict`` may be saved.

    Attributes:
        guided: whether the images have a gradient that guidance can add to.
        matches_features: whether ``method.network`` must have features.
        needs_logits: whether ``method.teacher`` must classify the images as they are.
        reads_batch_norms: whether the first network of ``method.teacher`` must classify and have batch norms.
        learns_lr: whether the result may carry a learning rate for students.
        kind: the kind of the result's labels.
        images: the images (N, C, S, S) that the next update changes; None for a method without an image gradient.
        labels: their classes (N,), if they have any.
        total: the number of units of work.
        at: the number of units that are done.
    """

    guided = False
    matches_features = False
    needs_logits = False
    reads_batch_norms = False
    learns_lr = False
    kind = "hard"
    images: Tensor | None = None
    labels: Tensor | None = None
    total = 1
    at = 0

    def __init__(self, problem: Problem, settings: MethodSettings) -> None:
        self.problem, self.settings = problem, settings
        self.check(problem.settings, settings, problem.classes)

    @classmethod
    def shards(cls, common: Common, settings: MethodSettings) -> range:
        """Returns the numbers of the shards that divide ``common.ipc`` images per class evenly."""
        return range(getattr(settings, "shards", 1))

    @classmethod
    def of_one_shard(cls, settings: MethodSettings) -> MethodSettings:
        """Returns the settings without the number of shards and the first shard, so that they are the same for every shard."""
        extent = {"shards": 1, "first": 0}
        return settings.model_copy(update={key: one for key, one in extent.items() if hasattr(settings, key)})

    @classmethod
    def files(cls, settings: MethodSettings) -> tuple[Path, ...]:
        """Returns the files and folders that the method reads beside the dataset and the pools."""
        return ()

    @classmethod
    def reads_teachers(cls, settings: MethodSettings) -> bool:
        """Whether the method reads the pool of ``method.teacher``; otherwise its problem has none."""
        return cls.needs_logits or cls.reads_batch_norms

    @classmethod
    def reads_guides(cls, common: Common, settings: MethodSettings) -> bool:
        """Whether the method, or guidance beside it, reads the pool of ``method.guidance.teacher``."""
        return common.guided

    @classmethod
    def labels_of(cls, settings: MethodSettings) -> str:
        """Returns the kind of the result's labels under the method's settings."""
        return cls.kind

    @classmethod
    def check(cls, common: Common, settings: MethodSettings, classes: int | None) -> None:
        """Raises BadInput if the settings do not suit ``common`` (of one shard) or the number of classes.

        ``classes`` is None if only the dataset's files tell the number.
        """

    @classmethod
    def check_teachers(cls, common: Common, settings: MethodSettings, pool: "PoolSettings") -> None:
        """Raises BadInput if the PoolSettings of ``method.teacher`` do not suit the method."""

    @classmethod
    def estimate(cls, common: Common, settings: MethodSettings, outline: Outline) -> Cost:
        """Estimates the Cost of all shards from the parameters alone, without augmentation, solving and testing."""
        raise NotImplementedError(f"{cls.__name__} must say what it costs")

    @classmethod
    def holds(cls, common: Common, settings: MethodSettings, outline: Outline) -> dict[str, float]:
        """Counts the numbers (float32) that the method holds at once at the least, by the setting, below method, to lower.

        Only what a machine could lack: networks, a chunk of images passing through one, matrices of images by images.
        """
        return {}

    @property
    def updates(self) -> int:
        """The number of units that complete an image gradient."""
        return self.total

    def advance(self) -> StepResult:
        """Does one unit of work and counts it in ``at``; sets ``images.grad`` if the unit completes it."""
        raise NotImplementedError

    def apply(self) -> None:
        """Takes the optimiser's step, followed by projection and schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Returns all that ``load_state_dict`` needs: JSON values and Tensors, nested."""
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of a method of the same problem and settings."""
        self.at = state["at"]

    def result(self) -> DistilledSet:
        """Returns the distilled set, once all units are done."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Returns the Cost of the units done so far."""
        raise NotImplementedError


class SelectionMethod(Method[MethodSettings]):
    """A method that selects real images or imports a set. It trains nothing, and its cost counts as zero."""

    @classmethod
    def estimate(cls, common: Common, settings: MethodSettings, outline: Outline) -> Cost:
        """Returns no cost."""
        return Cost()

    def advance(self) -> StepResult:
        """Counts the unit; the work is done by ``result``."""
        self.at += 1
        return StepResult(image_grad_ready=False)

    def cost(self) -> Cost:
        """Returns no cost."""
        return Cost()


class ImageMethod(Method[MethodSettings]):
    """A method that moves images along a gradient.

    A subclass sets ``optimizer``, and names in ``variables`` the attributes that it moves, which a checkpoint holds.

    Attributes:
        variables: names of the attributes that the optimiser moves.
        targets: the images' label vectors (N, D), if the method learns them.
        optimizer: of the variables.
    """

    guided = True
    images: Tensor
    variables: tuple[str, ...] = ("images",)
    targets: Tensor | None = None
    optimizer: torch.optim.Optimizer

    def __init__(self, problem: Problem, settings: MethodSettings) -> None:
        super().__init__(problem, settings)
        self.begin()

    @classmethod
    def holds(cls, common: Common, settings: MethodSettings, outline: Outline) -> dict[str, float]:
        """Counts the images, their gradient and their momentum."""
        channels, size, classes = outline.shape
        return {"ipc": 3 * common.ipc * classes * channels * size**2}

    def begin(self) -> None:
        """Starts from ``initial``."""
        images, self.labels = self.initial()
        self.images = images.requires_grad_()  # pyright: ignore[reportIncompatibleVariableOverride]: optional in Method alone

    def initial(self) -> tuple[Tensor, Tensor | None]:
        """Returns the initial images (N, C, S, S) and their classes (N,), if they have any."""
        return self.problem.initial_images(), self.problem.labels()

    def apply(self) -> None:
        """Takes the optimiser's step."""
        self.optimizer.step()

    def result(self) -> DistilledSet:
        """Returns images and labels as a set of the method's kind."""
        return self.problem.labelled_set(self.images, self.labels, self.targets, self.kind)

    def state_dict(self) -> dict[str, Any]:
        """Returns the variables and the optimiser's state."""
        variables = {name: getattr(self, name).detach() for name in self.variables}
        return {"at": self.at, **variables, "optimizer": optimizer_state(self.optimizer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.at = state["at"]
        for name in self.variables:
            getattr(self, name).data.copy_(state[name])
        restore_optimizer(self.optimizer, state["optimizer"])
