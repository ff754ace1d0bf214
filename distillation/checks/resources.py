"""Whether this machine can hold what the parameters ask for: memory and disk, by lower bounds from the parameters alone.

Only what certainly does not fit is refused: each need counts what must be there at one moment (weights with gradient and
momentum, one batch's activations, a set's images), against all memory of the device and all of the disk, free or not, since
what a resumed run needs may lie there already.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distillation import methods
from distillation.checks.dataset import Shape, settings_of, shape_of
from distillation.checks.teacher import Pools
from distillation.datasets.catalogue import CATALOGUE, INDEXED
from distillation.datasets.settings import DatasetSettings
from distillation.evaluation.settings import EvaluateCommon
from distillation.methods.base import Common
from distillation.methods.cost import Outline
from distillation.networks.build import extent
from distillation.params import Compute, Params
from distillation.runtime import process
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.teachers.settings import PoolSettings

FLOAT = 4  # bytes of a float32
TRAINED = 3  # numbers by weight while it is trained: itself, its gradient, its momentum
STORED = 2  # bytes of a stored logit
EPOCHS_KEPT = {"trajectory"}  # objectives that keep the weights of every epoch


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that must be held at once.

    Attributes:
        key: dotted path of the setting to lower.
        what: the thing that takes them.
        bytes: how many, at the least.
        place: ``memory`` or ``disk``.
    """

    key: str
    what: str
    bytes: float
    place: str = "memory"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The bytes that a machine has in all.

    Attributes:
        memory: of the device that computes.
        disk: of the file system of the repository.
    """

    memory: float
    disk: float


def check(params: Params, pools: Pools, machine: Machine) -> None:
    """Compares what the stages must hold with what a machine has.

    Args:
        params: the parameters, which passed ``check_all``.
        pools: settings of every pool by its name, as ``check_all`` returns them.
        machine: bytes of memory and disk.

    Raises:
        BadInput: a need exceeds the machine; the sentence names the setting to lower.
    """
    for need in needs(params, pools):
        if need.bytes > (available := getattr(machine, need.place)):
            raise BadInput(
                f"{need.key} is too large for this machine: {need.what} takes at least {_gigabytes(need.bytes)} of "
                f"{need.place}, of which there are {_gigabytes(available)}."
            )


def this_machine(compute: Compute) -> Machine:
    """Measures the Machine that ``compute.device`` selects here.

    Memory is that of the GPU, or for the CPU the machine's, but not more than the container's limit. A GPU that the
    machine does not have counts as the CPU: this check is about sizes only. Disk is that of the repository's file
    system.
    """
    index = int(compute.device.split(":")[1]) if ":" in compute.device else 0
    if compute.device != "cpu" and index < torch.cuda.device_count():
        memory = torch.cuda.get_device_properties(index).total_memory
    else:
        memory = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits())
    return Machine(memory=memory, disk=shutil.disk_usage(process.root()).total)


def _limits() -> Iterator[float]:
    """Yields the limits of memory, in bytes, of this process's container; infinite if there is none."""
    # cgroup 2, then cgroup 1
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup") / name
        text = file.read_text().strip() if file.is_file() else ""
        yield float(text) if text.isdigit() else float("inf")


def needs(params: Params, pools: Pools) -> Iterator[Need]:
    """Yields a Need for each thing that the stages hold, as far as the parameters determine its size."""
    for source in _sources(params):
        yield from _dataset(params, source)
    for name, pool in pools.items():
        yield from _pool(params, name, pool)
    yield from _method(params, pools)
    yield from _students(params)
    yield from _stored_labels(params)


@dataclass(frozen=True, kw_only=True)
class _Extent:
    """The least extent of a dataset, a lower bound where only its files tell.

    Attributes:
        shape: (channels, pixels of a side, classes); 1 channel and 2 classes if unknown.
        count: number of training images; 0 if unknown.
    """

    shape: tuple[int, int, int]
    count: int


def _extent(settings: DatasetSettings, shape: Shape | None = None) -> _Extent | None:
    """The least extent of a dataset.

    Args:
        settings: its section.
        shape: that of its images, if a pool converts them; None: as the settings have it.

    Returns:
        The extent; None if only the files tell how many pixels an image has.
    """
    channels, pixels = shape or shape_of(settings)
    facts = CATALOGUE[settings.name]
    if pixels is None:
        return None
    return _Extent(shape=(channels or 1, pixels, facts.count or 2), count=facts.images or 0)


def _sources(params: Params) -> list[str]:
    """The names of all datasets, as ``settings_of`` takes them."""
    return ["dataset", *(f"{group}/{name}" for group in ("sources", "targets") for name in params.value(group))]


def _dataset(params: Params, source: str) -> Iterator[Need]:
    """The pixels of a dataset that is held in memory, at one byte a value; none for images that stay in files."""
    settings = settings_of(params, source)
    indexed = settings.form == "index" or (settings.form == "auto" and settings.name in INDEXED)
    if (extent_of := _extent(settings)) and not indexed:
        channels, pixels, _ = extent_of.shape
        size, key = extent_of.count * channels * pixels**2, f"{source.replace('/', '.')}.pixels"
        for place in ("memory", "disk"):
            yield Need(key=key, what=f"the images of {settings.name}", bytes=size, place=place)


def _network(
    key: str, word: str, shape: tuple[int, int, int], batch: int, batch_key: str, copies: int = 1
) -> Iterator[Need]:
    """The weights of ``copies`` networks in training, and the activations of a batch in one."""
    weights, activations = extent(word, *shape)
    yield Need(key=key, what=f"{copies} x {word}" if copies > 1 else word, bytes=copies * weights * FLOAT * TRAINED)
    yield Need(key=batch_key, what=f"a batch of {batch:,} in {word}", bytes=batch * activations * FLOAT)


def _pool(params: Params, name: str, pool: PoolSettings) -> Iterator[Need]:
    """One teacher of each network in training, the weights of all on disk, and heads of a self-supervised objective."""
    objective, source = objectives.load(pool.objective), settings_of(params, pool.source)
    outline = _extent(source, objective.shape(pool, shape_of(source)))
    if outline is None:
        return
    path, training, total = f"teacher.{name}", pool.training.model_dump(), 0
    batch = min(training.get("batch", 1), outline.count or 1)
    kept = training["epochs"] if pool.objective in EPOCHS_KEPT else len(pool.keep)
    for word in objective.words(pool):
        yield from _network(f"{path}.networks", word, outline.shape, batch, f"{path}.{pool.objective}.batch")
        total += pool.count * kept * extent(word, *outline.shape)[0] * FLOAT
    yield Need(key=f"{path}.count", what=f"{kept} x {pool.count} of each of its networks", bytes=total, place="disk")
    for key, numbers in _heads(training):
        yield Need(key=f"{path}.{pool.objective}.{key}", what=f"its {key}", bytes=numbers * FLOAT)


def _heads(training: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Counts the numbers of the widest layers of the heads, and of the queue, of a self-supervised objective.

    Args:
        training: its settings; for one that has none of these keys, all counts are 0.

    Yields:
        The key of the setting that makes the layer wide, and how many numbers it takes.
    """
    dim, hidden = training.get("dim", 0), training.get("hidden", 0)
    yield "hidden", hidden * dim * TRAINED
    yield "queue", training.get("queue", 0) * dim
    yield "prototypes", training.get("prototypes", 0) * dim * TRAINED
    yield "out", training.get("out", 0) * dim * TRAINED


def _method(params: Params, pools: Pools) -> Iterator[Need]:
    """The distilled images, in memory and on disk, and what the method itself holds at once (``Method.holds``)."""
    common, settings = params.fields("method", Common), settings_of(params, "dataset")
    if (dataset := _extent(settings)) is None:
        return
    module = methods.load(common.name)
    outline = Outline(shape=dataset.shape, count=dataset.count, flip=False, teacher=pools[common.teacher].networks[0])
    section = params.section(f"method.{common.name}", module.Settings)
    channels, pixels, classes = dataset.shape
    images = common.ipc * classes * channels * pixels**2 * FLOAT
    yield Need(key="method.ipc", what="the distilled set", bytes=images)
    yield Need(key="method.ipc", what="the distilled set", bytes=images, place="disk")
    for key, numbers in module.METHOD.holds(common, section, outline).items():
        yield Need(key=f"method.{key}", what=f"what {common.name} holds", bytes=numbers * FLOAT)


def _students(params: Params) -> Iterator[Need]:
    """One student of each network in training on the whole dataset, and the stored weights of all students."""
    common, dataset = params.fields("evaluate", EvaluateCommon), _extent(settings_of(params, "dataset"))
    if dataset is None:
        return
    weights = 0
    for word in common.networks:
        batch = min(params.value("evaluate.whole.batch"), dataset.count or 1)
        yield from _network("evaluate.networks", word, dataset.shape, batch, "evaluate.whole.batch")
        weights += common.seeds * extent(word, *dataset.shape)[0] * FLOAT
    if params.value("evaluate.save_models"):
        yield Need(key="evaluate.seeds", what="the stored students", bytes=weights, place="disk")


def _stored_labels(params: Params) -> Iterator[Need]:
    """The logits that fkd stores: one for each class, image and epoch, of the set and perhaps of its control."""
    dataset = _extent(settings_of(params, "dataset"))
    if params.value("relabel.kind") == "fkd" and dataset:
        classes = dataset.shape[2]
        logits = params.value("relabel.fkd.epochs") * params.value("method.ipc") * classes * classes
        sets = 1 + params.value("relabel.control")
        yield Need(key="relabel.fkd.epochs", what="its stored labels", bytes=sets * logits * STORED, place="disk")


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"
