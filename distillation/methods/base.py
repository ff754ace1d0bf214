"""The contract of a distillation method: its settings, its problem, and its result.

A method is a subclass of ``Method``. It is given a ``Problem`` (the real data, the common settings, the teachers) and
its own settings, and works in units that ``driver.updates`` calls one by one. ``SelectionMethod`` is the base of
methods that train nothing, ``ImageMethod`` that of methods that move images along a gradient. ``distillation.methods``
finds a method by name.
"""

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
from distillation.runtime.graphs import begin_step, graphed
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.teachers.pool import Pool
from distillation.training.optimizers import optimizer_state, restore_optimizer

if TYPE_CHECKING:
    from distillation.teachers.foreign import Foreign
    from distillation.teachers.settings import PoolSettings

MethodSettings = TypeVar("MethodSettings", bound=Section)  # a method's own section of params.yaml


class GuidanceSettings(Section):
    """The settings of guidance (see ``distillation.methods.guidance``), the section ``method.guidance``.

    They are read only where ``method.alpha`` is above 0; ``verify`` of recovery also reads ``teacher`` and ``adapt``.

    Attributes:
        teacher: the name of the guiding pool.
        epoch: which checkpoints of the pool guide. A teacher may be stored at several epochs; a number is such an
            epoch, ``last``, ``best`` and ``best_test`` are the names of stored ones, ``any`` means all of them.
        distance: the loss of a teacher: ``ce``, as in the published code; or CLoM's contrastive ratio, with the
            cross-entropy (``ce_ratio``) or the cosine distance (``cos``).
        batch: number of real images that a ratio compares with, drawn anew for each update; unused by ``ce``.
        adapt: whether images may be converted to grey or RGB and resized for teachers trained on other shapes. If not,
            such teachers raise BadInput.
        scale: the unit of ``method.alpha``: ``absolute``, a factor of the teacher's gradient as published; or
            ``relative``, a fraction of the norm of the method's own image gradient.
    """

    teacher: str
    epoch: Literal["any", "last", "best", "best_test"] | Count
    distance: Literal["ce", "ce_ratio", "cos"]
    batch: Count
    adapt: bool
    scale: Literal["absolute", "relative"]


class Common(Section):
    """The settings shared by all methods, in the section ``method``. A method ignores those that it has no use for.

    Attributes:
        name: the method, the name of its file in ``distillation/methods``.
        ipc: images per class. Of one shard (see ``of_a_shard``) its part of them.
        seed: seed of every draw.
        network: the network name (``distillation.networks.names``) of the network that the method trains or draws.
        init: start of the optimisation: random real images, or N(0, 1) noise in the dataset's space.
        augment: the siamese strategy, operations joined by ``_`` such as ``color_crop``; ``none``; or ``auto``, the
            published strategy, see ``Problem.strategy``.
        alpha: the weight of guidance, one number or one for each network name of the pool; 0: no guidance.
        teacher: the name of the pool that the method itself uses, if it uses one.
        guidance: settings of guidance.
        precision: of forward passes: ``fp32``, or ``bf16`` under autocast.
        compile: whether networks pass through ``torch.compile``.
        chunk: images that pass through a network together. It changes memory and speed, and results by rounding only.
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
    """Whether a guidance weight, or any of those by network name, is above zero, so that guidance is on."""
    return any(weight > 0 for weight in (alpha.values() if isinstance(alpha, dict) else [alpha]))


def check_guided(method: "type[Method]", common: Common) -> None:
    """Checks that guidance, if it is on, can join the method. The stages check and distill call it.

    Raises:
        BadInput: ``common.alpha`` is above 0, but the method has no image gradient (``Method.guided``).
    """
    if common.guided and not method.guided:
        raise BadInput(
            f"method.alpha is above 0, but {common.name} has no image gradient that guidance could join; set it to 0."
        )


def of_a_shard(method: "type[Method]", common: Common, settings: Section) -> tuple[range, Common]:
    """Divides a set into shards: independent problems, which processes can solve side by side.

    Args:
        method: the method's class, whose ``shards`` numbers them.
        common: the section ``method``, with the ``ipc`` of the whole set.
        settings: the method's own section.

    Returns:
        The numbers of the shards, often 0 alone, and the Common of each: the same for all, with ``ipc`` / number of
        shards.

    Raises:
        BadInput: the number of shards does not divide ``ipc``.
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
    """What a method is given: real data on ``device``, common settings, teachers and guides.

    If a set is made in shards, each shard is a problem of its own, with its part of the images and its own draws.

    The methods of this class are what most methods need: named generators, batches of real images, initial images, the
    matching network, and the construction of the result.

    Attributes:
        data: the real dataset.
        settings: the section ``method``, with the ``ipc`` of the shard.
        device: where the method's images, networks and batches are. Random numbers and indices are drawn on the CPU.
        teachers: the pool of ``method.teacher``; None for a method that does not read it.
        shard: the shard's number; 0 for a set that is not divided, or the first shard.
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
        """The network of the first member of ``method.teacher``, for methods that read its features by ``embed``.

        Raises:
            BadInput: its kind of network has no features, see ``networks.build.has_features``.
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
        """The prefix of the names of all draws: the method's name, and the shard's number unless it is 0."""
        # without a number for shard 0, so that a set of one shard has the draws of an undivided one
        return f"{self.settings.name}/shard {self.shard}" if self.shard else self.settings.name

    def draws(self, purpose: str, *index: int | str) -> torch.Generator:
        """Returns a fresh CPU generator, derived from ``method.seed``, method, shard, ``purpose`` and ``index``.

        Equal arguments give equal numbers whenever they are drawn, so that no checkpoint has to hold a generator.

        Args:
            purpose: what is drawn, such as ``batch``.
            index: what distinguishes the draws of one purpose, such as the number of the update.
        """
        return generator(self.settings.seed, self.name, purpose, *index)

    @property
    def classes(self) -> int:
        """The number of classes of the dataset."""
        return len(self.data.classes)

    @property
    def strategy(self) -> str:
        """The siamese strategy (see ``augment.siamese``) of ``method.augment``, with ``auto`` resolved.

        ``auto`` is all operations of DSA, without mirroring where a mirrored image may change its class.
        """
        return resolve(self.settings.augment, self.data.info["flip"])

    def labels(self) -> Tensor:
        """Returns labels (classes · ipc,) int64: every class ``ipc`` times, in order."""
        return torch.arange(self.classes, device=self.device).repeat_interleave(self.settings.ipc)

    def centred(self, labels: Tensor) -> Tensor:
        """Returns one-hot vectors minus 1 / C, (N, C) float32, of classes (N,) int64: regression targets of mean 0."""
        return F.one_hot(labels, self.classes).float() - 1 / self.classes

    def network(self, draws: torch.Generator) -> Network:
        """Builds ``method.network`` on the device, in train mode, with weights from the CPU generator ``draws``."""
        return build(self.settings.network, *self.data.shape, draws).to(self.device)

    def forward_flops(self) -> int:
        """Returns the floating-point operations of a forward pass of ``method.network`` on one image."""
        return flops(self.settings.network, *self.data.shape)

    def compiled(self, function: Callable) -> Callable:
        """Returns ``function`` (or a network) compiled if ``method.compile`` is set, else as it is."""
        return compiled(function) if self.settings.compile else function

    def graphed(self, function: Callable) -> Callable:
        """Returns ``function`` compiled, on a GPU as CUDA graphs, if ``method.compile`` is set, else as it is.

        A method that calls it begins each unit of work by ``begin_step``.
        """
        return graphed(function, self.device) if self.settings.compile else function

    def begin_step(self) -> None:
        """Begins a unit of work whose functions are ``graphed``; see ``runtime.graphs.begin_step``."""
        begin_step(self.device, self.settings.compile)

    def features(self, embed: Callable[[Tensor], Tensor], images: Tensor, chunk: int | None = None) -> Tensor:
        """Computes features (N, F) of many images in ``method.precision``, a chunk at a time; differentiable.

        Args:
            embed: function from images (n, C, S, S) to features (n, F).
            images: (N, C, S, S).
            chunk: images at a time; None: ``method.chunk``.
        """
        with autocast(images.device, self.settings.precision):
            return in_chunks(embed, images, chunk or self.settings.chunk)

    def pick(self, count: int, draws: torch.Generator) -> Tensor:
        """Draws exactly ``count`` different training images of each class, such as initial images.

        Returns:
            Indices into ``data.train``, (classes, count) int64 on the CPU.

        Raises:
            BadInput: a class has fewer.
        """
        if short := self.data.shorter(count):
            raise BadInput(f"{count} images of each class are drawn, but the dataset has fewer of {listed(short)}.")
        return torch.stack(self.data.sample([count] * self.classes, draws))

    def batch(self, count: int, draws: torch.Generator) -> list[Tensor]:
        """Draws the real batch of an update: up to ``count`` different training images of each class.

        Of a class with fewer all are drawn, as in the code of DC, DSA and DM.

        Returns:
            For each class indices into ``data.train``, (n,) int64 on the CPU, with n as in ``batch_sizes``.
        """
        return self.data.sample([count] * self.classes, draws)

    def batch_sizes(self, count: int) -> list[int]:
        """Returns the number of images of each class that ``batch`` draws, in the order of the classes."""
        return [min(count, len(members)) for members in self.data.members]

    def note_short(self, count: int) -> None:
        """Prints a note to stderr that names the classes with fewer than ``count`` training images, if there are any.

        ``count`` is the method's setting ``batch_real``; of these classes ``batch`` draws fewer images.
        """
        if short := self.data.shorter(count):
            print(
                f"note: method.{self.settings.name}.batch_real is {count}, but the dataset has fewer images of "
                f"{listed(short)}: these give all that they have.",
                file=sys.stderr,
            )

    def real(self, indices: Tensor) -> Tensor:
        """Returns the training images (N, C, S, S) at ``indices`` (N,), float32 in the dataset's space, on the device."""
        images = self.data.train.images  # in memory, or read from files as they are indexed
        return self.data.encode(images[to_device(indices, indices_on(images))])

    def initial_images(self) -> Tensor:
        """Returns the images that optimisation starts from, by ``method.init``.

        Returns:
            (classes · ipc, C, S, S) float32 in the dataset's space, in the order of ``labels``.

        Raises:
            BadInput: real images are to be drawn, but a class has fewer than ``ipc``.
        """
        shape = (self.classes * self.settings.ipc, *self.data.train.images.shape[1:])
        if self.settings.init == "noise":
            # drawn on the CPU and moved, so that every device gets the same numbers
            return to_device(torch.randn(shape, generator=self.draws("init")), self.device)
        return self.real(self.pick(self.settings.ipc, self.draws("init")).flatten())

    def hard_set(self, images: Tensor, labels: Tensor, **info: Any) -> DistilledSet:
        """Returns a DistilledSet with hard labels in the dataset's space; arguments as of ``labelled_set``."""
        return self.labelled_set(images, labels, None, "hard", **info)

    def labelled_set(
        self, images: Tensor, labels: Tensor | None, targets: Tensor | None, kind: str, space: Space | None = None,
        **info: Any,
    ) -> DistilledSet:  # fmt: skip
        """Returns a DistilledSet, with a record of the method, its seed and the dataset.

        Args:
            images: (N, C, S, S); detached here.
            labels: classes (N,) int64; None where the images have none.
            targets: label vectors (N, D): learnt labels or features; None with hard labels. Detached here.
            kind: the kind of the labels that the record states: ``hard``, ``regression`` or ``features``.
            space: of the images; None: that of the dataset.
            info: further entries of the record; they replace usual ones of the same name.
        """
        info = {
            "labels": kind,
            "feed": "stored",  # students are given the images as they are stored
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
    """Returns ``images.grad``, which ``advance`` has set; in place changes of it reach the optimiser."""
    assert images.grad is not None
    return images.grad


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The outcome of one unit of work.

    Attributes:
        image_grad_ready: whether ``images.grad`` is complete, so that ``apply`` comes next.
        metrics: values by name, such as ``loss``, that progress shows and the curve records; numbers or Tensors ().
    """

    image_grad_ready: bool
    metrics: Mapping[str, float | Tensor] = field(default_factory=dict)


class Method(Generic[MethodSettings]):
    """A distillation method.

    ``driver.updates`` calls ``advance`` (one bounded unit of work) ``total`` times, and ``apply`` after each unit that
    completes the image gradient; ``result`` comes at the end. Between any two units ``state_dict`` may be saved. The
    class methods are called before a problem exists: by the stage check, by estimates of cost and memory, and by the
    stage distill as it plans the shards.

    Args:
        problem: the data, common settings, teachers and guides.
        settings: the method's own section.

    Raises:
        BadInput: as ``check``. A subclass may also refuse the problem.

    Attributes:
        guided: whether the images have a gradient that guidance can add to.
        matches_features: whether ``method.network`` must have features.
        needs_logits: whether the networks of ``method.teacher`` must classify images of the dataset as they are: its
            classes, its size, its channels and its space.
        reads_batch_norms: whether the first network of ``method.teacher`` must classify and have batch norms.
        learns_lr: whether the result may carry a learning rate for students.
        kind: the kind of the result's labels: ``hard``, ``regression`` or ``features``.
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
        """Returns the numbers of the shards, 0 to ``shards`` - 1; 0 alone for methods without the setting ``shards``.

        That they divide ``common.ipc`` evenly is checked by ``of_a_shard``.
        """
        return range(getattr(settings, "shards", 1))

    @classmethod
    def of_one_shard(cls, settings: MethodSettings) -> MethodSettings:
        """Returns the settings for a Job of one shard: the number of shards set to 1, and the first shard to 0.

        The key of a job is made of its settings. Without these two, a shard that was made once is found again when a
        later set has more or other shards.
        """
        extent = {"shards": 1, "first": 0}
        return settings.model_copy(update={key: one for key, one in extent.items() if hasattr(settings, key)})

    @classmethod
    def files(cls, settings: MethodSettings) -> tuple[Path, ...]:
        """Returns the existing files and folders that the method reads beside the dataset and the pools."""
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
        """Returns the kind of the result's labels, such as ``hard``, under the method's settings."""
        return cls.kind

    @classmethod
    def check(cls, common: Common, settings: MethodSettings, classes: int | None) -> None:
        """Checks that the settings suit each other. The stage check calls it, and the method when it is built.

        Args:
            common: the section ``method``, with the ``ipc`` of one shard.
            settings: the method's own section.
            classes: the number of classes; None while it is unknown, before the dataset's files are read.

        Raises:
            BadInput: they do not. By default nothing is checked.
        """

    @classmethod
    def check_images(cls, common: Common, settings: MethodSettings, total: int) -> None:
        """Checks the settings against the number of training images, beside ``ipc`` of each class, which is checked elsewhere.

        The stage check calls it for a dataset whose number is known before its files are read, and the method when it
        is built.

        Raises:
            BadInput: the method needs more than the ``total`` that there are. By default nothing is checked.
        """

    @classmethod
    def check_teachers(cls, common: Common, settings: MethodSettings, pool: "PoolSettings") -> None:
        """Checks the settings of the pool of ``method.teacher`` before its teachers are trained.

        What the class attributes such as ``needs_logits`` require is checked elsewhere, by the stage check.

        Raises:
            BadInput: they do not suit the method. By default nothing is checked.
        """

    @classmethod
    def estimate(cls, common: Common, settings: MethodSettings, outline: Outline) -> Cost:
        """Estimates the Cost of all shards from the parameters alone, for the costs of recipes before they run.

        Augmentation, the solution of linear systems and tests are left out. ``common.ipc`` is that of the whole set.
        """
        raise NotImplementedError(f"{cls.__name__} must say what it costs")

    @classmethod
    def holds(cls, common: Common, settings: MethodSettings, outline: Outline) -> dict[str, float]:
        """Estimates the memory that the method needs at the least, for the check of resources before anything runs.

        Only what a machine could lack is counted: networks, a chunk of images passing through one, matrices of images
        by images.

        Returns:
            By the name of a setting below ``method``, such as ``ipc``, the count of float32 numbers held at once that
            grows with this setting. The message of the check names the setting as the one to lower.
        """
        return {}

    @property
    def updates(self) -> int:
        """The number of updates of the images in all: the units of work that complete an image gradient."""
        return self.total

    def advance(self) -> StepResult:
        """Does one unit of work and counts it in ``at``; sets ``images.grad`` if the unit completes it."""
        raise NotImplementedError

    def apply(self) -> None:
        """Moves the images by ``images.grad``; here nothing, for methods without an image gradient.

        It is called once after each ``advance`` whose result has ``image_grad_ready``, and after guidance has added to
        it.
        """

    def require_sound(self) -> None:
        """Checks what ``advance`` and ``apply`` leave unread, as to read it waits for the device; here nothing.

        It is called where values are recorded, and after the last unit of work.

        Raises:
            Diverged: the method cannot go on; the message names the setting to change.
        """

    def state_dict(self) -> dict[str, Any]:
        """Returns the content of a checkpoint, all that ``load_state_dict`` needs: JSON values and Tensors, nested.

        What follows from problem, settings and ``at``, such as draws, is left out.
        """
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the state of a method of the same problem and settings, which then goes on to the same bits."""
        self.at = state["at"]

    def result(self) -> DistilledSet:
        """Returns the distilled set, once all units are done; see ``Problem.labelled_set``."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Returns the Cost of the units done so far."""
        raise NotImplementedError


class SelectionMethod(Method[MethodSettings]):
    """A method that selects real images, draws noise or imports a set.

    It optimises nothing, has one unit of work unless a subclass sets ``total``, and its cost counts as zero.
    """

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

    A subclass sets ``optimizer`` in its ``__init__``, after that of this class has set ``images`` and ``labels``. Its
    ``advance`` sets ``images.grad``. It lists in ``variables`` the attributes that the optimiser moves, so that
    checkpoints hold them.

    Attributes:
        images: (N, C, S, S) float32, a leaf that requires a gradient.
        variables: names of the attributes that the optimiser moves, each a Tensor.
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
        """Counts the images, their gradient and their momentum; see ``Method.holds``."""
        channels, size, classes = outline.shape
        return {"ipc": 3 * common.ipc * classes * channels * size**2}

    def begin(self) -> None:
        """Sets ``images`` and ``labels`` to those of ``initial``."""
        images, self.labels = self.initial()
        self.images = images.requires_grad_()  # pyright: ignore[reportIncompatibleVariableOverride]: optional in Method alone

    def initial(self) -> tuple[Tensor, Tensor | None]:
        """Returns the initial images (N, C, S, S) and their classes (N,), if they have any."""
        return self.problem.initial_images(), self.problem.labels()

    def apply(self) -> None:
        """Takes the optimiser's step by the gradients of the variables."""
        self.optimizer.step()

    def result(self) -> DistilledSet:
        """Returns images, labels and targets as a set of the method's kind, in the dataset's space."""
        return self.problem.labelled_set(self.images, self.labels, self.targets, self.kind)

    def state_dict(self) -> dict[str, Any]:
        """Returns the variables and the optimiser's state."""
        variables = {name: getattr(self, name).detach() for name in self.variables}
        return {"at": self.at, **variables, "optimizer": optimizer_state(self.optimizer)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` returned."""
        self.at = state["at"]
        for name in self.variables:
            # in place, since the optimiser holds these very tensors
            getattr(self, name).data.copy_(state[name])
        restore_optimizer(self.optimizer, state["optimizer"])
