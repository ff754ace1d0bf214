"""What every method is given, and what it gives back."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from distillation.augment.adapt import adapt
from distillation.augment.strategy import operations, resolve
from distillation.data.distilled import DistilledSet
from distillation.data.indexed import indices_on
from distillation.data.real import RealSet
from distillation.networks.build import build, flops
from distillation.params import Section
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool

Weight = Annotated[float, Field(ge=0)]


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
    """What every method reads of the section ``method``, whether it uses it or not."""

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
    def _strategy(cls, value):
        if value not in ("auto", "none"):
            operations(value)
        return value

    @property
    def guided(self):
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


def of_a_shard(method, common, settings):
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
    teachers: Pool
    shard: int = 0
    guides: Pool | None = None

    @property
    def name(self):
        """The first word of every draw's name."""
        return f"{self.settings.name}/shard {self.shard}" if self.shard else self.settings.name

    def draws(self, purpose, *index):
        """The generator for ``purpose`` at ``index`` under ``method.seed``."""
        return generator(self.settings.seed, self.name, purpose, *index)

    @property
    def classes(self):
        return len(self.data.classes)

    @property
    def strategy(self):
        """The siamese strategy: ``auto`` leaves mirroring out where it changes the class."""
        return resolve(self.settings.augment, self.data.info["flip"])

    def labels(self):
        """(classes · ipc,) int64: every class ``ipc`` times, in order."""
        return torch.arange(self.classes, device=self.device).repeat_interleave(self.settings.ipc)

    def network(self, draws):
        """A freshly initialised ``method.network`` on the device."""
        return build(self.settings.network, *self.data.shape, draws).to(self.device)

    def forward_flops(self):
        """Floating-point operations of ``method.network`` on one image."""
        return flops(self.settings.network, *self.data.shape)

    def pick(self, count, draws):
        """Indices (classes, count) of ``count`` different training images of each class, on the CPU."""
        smallest = min(map(len, self.data.members))
        if count > smallest:
            raise BadInput(f"{count} images of each class are asked for, but the smallest class has {smallest}.")
        return torch.stack([m[torch.randperm(len(m), generator=draws)[:count]] for m in self.data.members])

    def real(self, indices):
        """Training images (N, C, H, W), float32 in the dataset's space, on the device."""
        images = self.data.train.images
        return self.data.encode(images[indices.to(indices_on(images))])

    def initial_images(self):
        """What optimisation starts from, by ``method.init``: random real images of each class, or N(0, 1) in the space."""
        shape = (self.classes * self.settings.ipc, *self.data.train.images.shape[1:])
        if self.settings.init == "noise":
            return torch.randn(shape, generator=self.draws("init")).to(self.device)
        return self.real(self.pick(self.settings.ipc, self.draws("init")).flatten())

    def to_teacher(self, images, pool, adapting=False):
        """Images of the dataset's space as ``pool`` wants them; differentiable. ``adapting`` changes their shape too.

        Raises:
            BadInput: the pool was trained on images of another shape, and ``adapting`` is False.
        """
        if pool.shape[:2] == self.data.shape[:2]:
            if pool.space.same(self.data.space):
                return images
            return pool.space.encode(self.data.space.decode(images))
        if not adapting:
            raise BadInput(
                f"the teachers of {pool.info['pool']} take {_shape(pool.shape)}, but the images are "
                f"{_shape(self.data.shape)}; for guidance, method.guidance.adapt true adapts the images."
            )
        return pool.space.encode(adapt(self.data.space.decode(images), *pool.shape[:2]))

    def hard_set(self, images, labels, **info):
        """A DistilledSet with hard labels in the dataset's space."""
        return self.labelled_set(images, labels, None, "hard", **info)

    def labelled_set(self, images, labels, targets, kind, **info):
        """A DistilledSet with the classes ``labels`` and the label vectors ``targets`` of a kind, in the dataset's space."""
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
        return DistilledSet(images.detach(), labels, targets, self.data.space, info)


def _shape(shape):
    channels, size = shape[:2]
    return f"{channels}×{size}×{size}"


@dataclass
class Tick:
    """What one unit of work did: ``ready`` when ``images.grad`` is complete, and the values for people to see."""

    ready: bool
    values: dict = field(default_factory=dict)


class Method:
    """A distillation method.

    ``guided`` says whether its images have a gradient that guidance can add to, ``matches_features`` whether
    ``method.network`` must have features, ``asks_logits`` whether ``method.teacher`` must classify the images as they
    are, ``reads_batch_norms`` whether its first network must classify and have batch norms, ``learns_lr`` whether the
    result may say at which learning rate students should learn it. ``kind`` is that of the
    result's labels. ``images``, with their ``labels``, are those that the next update changes.

    The driver calls ``advance`` (one bounded unit of work) ``total`` times, ``apply`` after each that is ready, and
    ``result`` at the end; between any two calls it may save ``state_dict``.
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

    def __init__(self, problem, settings):
        self.problem, self.settings = problem, settings
        self.check(problem.settings, settings, problem.classes)

    @classmethod
    def shards(cls, common, settings):
        """The numbers of the shards in which ``common.ipc`` images of each class are made: that many, evenly shared."""
        return range(getattr(settings, "shards", 1))

    @classmethod
    def labels_of(cls, settings):
        """The kind of the result's labels under the method's settings."""
        return cls.kind

    @classmethod
    def check(cls, common, settings, classes):
        """Raise BadInput where the method's settings do not suit ``common`` (of one shard) and the number of ``classes``,
        None where only the dataset's files can tell."""

    @classmethod
    def check_teachers(cls, common, settings, pool):
        """Raise BadInput where the PoolSettings of ``method.teacher`` do not suit the method."""

    @property
    def updates(self):
        """How many of the ``total`` units are ready, where the images have a gradient."""
        return self.total

    def advance(self) -> Tick:
        raise NotImplementedError

    def apply(self):
        """Optimiser step, projection, schedule."""

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]

    def result(self) -> DistilledSet:
        raise NotImplementedError

    def cost(self):
        """Images passed forwards and backwards through networks so far, and their GFLOP: the same on every machine."""
        return {"images_forward": 0, "images_backward": 0, "gflop": 0.0}
