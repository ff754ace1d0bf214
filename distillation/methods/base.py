"""The contract of a method: its settings, the problem that it is given, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from distillation.augment.strategy import operations, resolve
from distillation.data.distilled import DistilledSet
from distillation.data.indexed import indices_on
from distillation.data.real import RealSet
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
    from distillation.teachers.settings import PoolSettings

Weight = Annotated[float, Field(ge=0)]
MethodSettings = TypeVar("MethodSettings", bound=Section)  # a method's own section of params.yaml


class GuidanceSettings(Section):
    """Which pool guides, and how.

    Attributes:
        teacher: the name of the pool.
        epoch: which of the pool's kept checkpoints guide: those kept under this name, or ``any``.
        distance: see ``guidance``: ce, as the published code; or CLoM's contrastive ratio, by ce_ratio or cos.
        batch: real images that a ratio compares with, at each update.
        adapt: whether images may be made grey or RGB and resized for teachers that were trained on other shapes.
        scale: whether alpha is absolute (as published) or relative to the method's own gradient norm.
    """

    teacher: str
    epoch: Literal["any", "last", "best", "best_test"] | Annotated[int, Field(ge=1)]
    distance: Literal["ce", "ce_ratio", "cos"]
    batch: int = Field(ge=1)
    adapt: bool
    scale: Literal["absolute", "relative"]


class Common(Section):
    """What every method reads of the section ``method``, whether it uses it or not.

    Attributes:
        name: the method.
        ipc: images of each class.
        seed: names every draw.
        network: the name of the network that the method trains or draws.
        init: what images start from, random real ones or N(0, 1).
        augment: the siamese strategy, or ``auto``.
        alpha: the weight of guidance, one number or one for each network of the pool.
        teacher: the pool that the method itself uses.
        precision, compile: how networks run.
        chunk: images that pass through a network together.
    """

    name: str
    ipc: int = Field(ge=1)
    seed: int = Field(ge=0)
    network: str
    init: Literal["real", "noise"]
    augment: str
    alpha: Weight | dict[str, Weight]
    teacher: str
    guidance: GuidanceSettings
    precision: Literal["fp32", "bf16"]
    compile: bool
    chunk: int = Field(ge=1)

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
    """Whether a weight of guidance, or any of those by network, is above zero."""
    return any(weight > 0 for weight in (alpha.values() if isinstance(alpha, dict) else [alpha]))


def check_guided(method: "type[Method]", common: Common) -> None:
    """Raise BadInput where guidance should join a method that has no image gradient."""
    if common.guided and not method.guided:
        raise BadInput(
            f"method.alpha is above 0, but {common.name} has no image gradient that guidance could join; set it to 0."
        )


def of_a_shard(method: "type[Method]", common: Common, settings: Section) -> tuple[range, Common]:
    """The numbers of the shards that the set is made in, and the Common of each: its share of the images.

    Raises:
        BadInput: the images of a class cannot be shared out evenly.
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
    """The task that a method solves: real data on ``device``, common settings, teachers and guides on demand.

    Where a set is made in shards, each is a problem of its own, with its share of the images and draws of its own.
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
    def guide_pool(self) -> Pool:
        """The pool of ``method.guidance.teacher``, for methods that read it (``Method.reads_guides``)."""
        assert self.guides is not None
        return self.guides

    @property
    def name(self) -> str:
        """The first word of every draw's name."""
        return f"{self.settings.name}/shard {self.shard}" if self.shard else self.settings.name

    def draws(self, purpose: str, *index: int | str) -> torch.Generator:
        """The generator for ``purpose`` at ``index`` under ``method.seed``."""
        return generator(self.settings.seed, self.name, purpose, *index)

    @property
    def classes(self) -> int:
        return len(self.data.classes)

    @property
    def strategy(self) -> str:
        """The siamese strategy: ``auto`` leaves mirroring out where it changes the class."""
        return resolve(self.settings.augment, self.data.info["flip"])

    def labels(self) -> Tensor:
        """Labels (classes · ipc,) int64: every class ``ipc`` times, in order."""
        return torch.arange(self.classes, device=self.device).repeat_interleave(self.settings.ipc)

    def centred(self, labels: Tensor) -> Tensor:
        """Labels (N,) one-hot, less 1 / C: (N, C) float32."""
        return F.one_hot(labels, self.classes).float() - 1 / self.classes

    def network(self, draws: torch.Generator) -> Network:
        """A freshly initialised ``method.network`` on the device."""
        return build(self.settings.network, *self.data.shape, draws).to(self.device)

    def forward_flops(self) -> int:
        """Floating-point operations of ``method.network`` on one image."""
        return flops(self.settings.network, *self.data.shape)

    def compiled(self, function: Callable) -> Callable:
        """A network or function, compiled where ``method.compile`` says so."""
        return compiled(function) if self.settings.compile else function

    def features(self, embed: Callable[[Tensor], Tensor], images: Tensor, chunk: int | None = None) -> Tensor:
        """What ``embed`` makes of images (N, C, S, S) in ``method.precision``, ``chunk`` at a time (None: ``method.chunk``)."""
        with autocast(images.device, self.settings.precision):
            return in_chunks(embed, images, chunk or self.settings.chunk)

    def pick(self, count: int, draws: torch.Generator) -> Tensor:
        """Indices (classes, count) of ``count`` different training images of each class, on the CPU.

        Raises:
            BadInput: a class has fewer.
        """
        if count > (smallest := self.data.smallest_class):
            raise BadInput(f"{count} images of each class are asked for, but the smallest class has {smallest}.")
        return torch.stack(self.data.sample([count] * self.classes, draws))

    def real(self, indices: Tensor) -> Tensor:
        """Training images (N, C, S, S), float32 in the dataset's space, on the device."""
        images = self.data.train.images
        return self.data.encode(images[indices.to(indices_on(images))])

    def initial_images(self) -> Tensor:
        """What optimisation starts from, by ``method.init``: random real images of each class, or N(0, 1) in the space."""
        shape = (self.classes * self.settings.ipc, *self.data.train.images.shape[1:])
        if self.settings.init == "noise":
            return torch.randn(shape, generator=self.draws("init")).to(self.device)
        return self.real(self.pick(self.settings.ipc, self.draws("init")).flatten())

    def hard_set(self, images: Tensor, labels: Tensor, **info: Any) -> DistilledSet:
        """A DistilledSet with hard labels in the dataset's space."""
        return self.labelled_set(images, labels, None, "hard", **info)

    def labelled_set(
        self, images: Tensor, labels: Tensor | None, targets: Tensor | None, kind: str, space: Space | None = None,
        **info: Any,
    ) -> DistilledSet:  # fmt: skip
        """A DistilledSet with the classes ``labels`` (N,) and the label vectors ``targets`` (N, D) of a kind.

        Args:
            space: of the images; None: that of the dataset.
            info: what its record has beside what every set's has.
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
        image_grad_ready: whether ``images.grad`` is complete, so that ``apply`` is to be called.
        metrics: values for people to watch, by name.
    """

    image_grad_ready: bool
    metrics: Mapping[str, float | Tensor] = field(default_factory=dict)


class Method(Generic[MethodSettings]):
    """A distillation method.

    ``guided`` says whether its images have a gradient that guidance can add to, ``matches_features`` whether
    ``method.network`` must have features, ``asks_logits`` whether ``method.teacher`` must classify the images as they
    are, ``reads_batch_norms`` whether its first network must classify and have batch norms, ``learns_lr`` whether the
    result may say at which learning rate students should learn it. ``kind`` is that of the
    result's labels. ``images``, with their ``labels``, are those that the next update changes.

    ``driver.updates`` calls ``advance`` (one bounded unit of work) ``total`` times, and ``apply`` after each whose image
    gradient is ready; ``result`` comes at the end. Between any two units ``state_dict`` may be saved.
    """

    guided = False
    matches_features = False
    asks_logits = False
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
        """The numbers of the shards in which ``common.ipc`` images of each class are made: that many, evenly shared."""
        return range(getattr(settings, "shards", 1))

    @classmethod
    def of_one_shard(cls, settings: MethodSettings) -> MethodSettings:
        """The settings without what says how many shards there are, or which is the first."""
        extent = {"shards": 1, "first": 0}
        return settings.model_copy(update={key: one for key, one in extent.items() if hasattr(settings, key)})

    @classmethod
    def files(cls, settings: MethodSettings) -> tuple[Path, ...]:
        """Files and folders that the method reads beside the dataset and the pools."""
        return ()

    @classmethod
    def reads_teachers(cls, settings: MethodSettings) -> bool:
        """Whether the method reads the pool of ``method.teacher``; where not, its problem has none."""
        return cls.asks_logits or cls.reads_batch_norms

    @classmethod
    def reads_guides(cls, common: Common, settings: MethodSettings) -> bool:
        """Whether the method, or guidance beside it, reads the pool of ``method.guidance.teacher``."""
        return common.guided

    @classmethod
    def labels_of(cls, settings: MethodSettings) -> str:
        """The kind of the result's labels under the method's settings."""
        return cls.kind

    @classmethod
    def check(cls, common: Common, settings: MethodSettings, classes: int | None) -> None:
        """Raises BadInput where the method's settings do not suit ``common`` (of one shard) and the number of ``classes``,
        None where only the dataset's files can tell."""

    @classmethod
    def check_teachers(cls, common: Common, settings: MethodSettings, pool: "PoolSettings") -> None:
        """Raises BadInput where the PoolSettings of ``method.teacher`` do not suit the method."""

    @classmethod
    def estimate(cls, common: Common, settings: MethodSettings, outline: Outline) -> Cost:
        """The Cost of all shards, from the parameters alone; augmentation, solving and testing are left out."""
        raise NotImplementedError(f"{cls.__name__} must say what it costs")

    @property
    def updates(self) -> int:
        """How many of the ``total`` units are ready, where the images have a gradient."""
        return self.total

    def advance(self) -> StepResult:
        """Does one unit of work."""
        raise NotImplementedError

    def apply(self) -> None:
        """Takes the optimiser's step, the projection and the schedule's."""

    def state_dict(self) -> dict[str, Any]:
        """All that ``load_state_dict`` needs to go on: JSON values and Tensors, nested."""
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where a method of the same problem and settings stood."""
        self.at = state["at"]

    def result(self) -> DistilledSet:
        """The distilled set, once all units are done."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """The Cost of the units done so far."""
        raise NotImplementedError


class SelectionMethod(Method[MethodSettings]):
    """A method that chooses its images, or takes them over: it trains nothing, and its cost counts as nothing."""

    @classmethod
    def estimate(cls, common: Common, settings: MethodSettings, outline: Outline) -> Cost:
        return Cost()

    def advance(self) -> StepResult:
        self.at += 1
        return StepResult(image_grad_ready=False)

    def cost(self) -> Cost:
        return Cost()


class ImageMethod(Method[MethodSettings]):
    """A method that moves images along a gradient.

    A subclass sets ``optimizer``, and names in ``variables`` the attributes that it moves: a checkpoint has them all.
    ``targets`` (N, D) are the images' label vectors, of a method that learns such.
    """

    guided = True
    images: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]: optional in Method alone, always set here
    variables: tuple[str, ...] = ("images",)
    targets: Tensor | None = None
    optimizer: torch.optim.Optimizer

    def __init__(self, problem: Problem, settings: MethodSettings) -> None:
        super().__init__(problem, settings)
        self.begin()

    def begin(self) -> None:
        """Starts from ``initial``."""
        images, self.labels = self.initial()
        self.images = images.requires_grad_()

    def initial(self) -> tuple[Tensor, Tensor | None]:
        """The images (N, C, S, S) that optimisation starts from, and their classes (N,)."""
        return self.problem.initial_images(), self.problem.labels()

    def apply(self) -> None:
        self.optimizer.step()

    def result(self) -> DistilledSet:
        return self.problem.labelled_set(self.images, self.labels, self.targets, self.kind)

    def state_dict(self) -> dict[str, Any]:
        variables = {name: getattr(self, name).detach() for name in self.variables}
        return {"at": self.at, **variables, "optimizer": optimizer_state(self.optimizer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at = state["at"]
        for name in self.variables:
            getattr(self, name).data.copy_(state[name])
        restore_optimizer(self.optimizer, state["optimizer"])
