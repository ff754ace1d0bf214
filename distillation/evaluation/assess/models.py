"""Assessment of sets under one model: a member of a pool, or a network with random weights of the same name.

It is the work of the stage assess: a Job, and ``measure``, a function of a Job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distillation.data.real import RealSet, loaded
from distillation.evaluation.assess.features import features, kernel_distance, mean_distance, mean_of, spread
from distillation.evaluation.assess.gradients import gradient_distance, gradients
from distillation.evaluation.assess.semantics import semantics
from distillation.evaluation.assess.sets import classes_of, sets_of
from distillation.methods.families.gradient_distances import SETTLING
from distillation.networks.build import Network, build, has_features
from distillation.runtime import files
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.teachers.pool import Pool
from distillation.training.resume import complete

if TYPE_CHECKING:
    from distillation.teachers.foreign import Foreign

RECORD = "record.json"


@dataclass(frozen=True)
class Model:
    """A network under which sets are assessed; its text, as in ``ConvNet/0/last``, is a column of ``rows.csv``.

    Attributes:
        word: network name.
        index: its number among the networks of that name.
        kept: an entry of the pool's ``keep``; ``fresh``: it has random weights.
    """

    word: str
    index: int
    kept: str

    def __str__(self) -> str:
        return f"{self.word}/{self.index}/{self.kept}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of assessing sets under one model.

    Attributes:
        data: the folder of the RealSet that the sets are compared with.
        sets: files of the sets by name: ``distilled`` and perhaps ``control``. Random images are added to them.
        pool: the file of the pool.
        model: a member of the pool, or a random network with the name of one.
        real: real images of each class that the sets are compared with, or as many as it has.
        chunk: images that pass through the network together.
    """

    data: Path
    sets: dict[str, Path]
    pool: Path
    model: Model
    real: int
    chunk: int


def models_of(pool: Pool, fresh: int) -> list[Model]:
    """Returns the Models of all members of a Pool, then ``fresh`` random ones of each of its network names."""
    members = [Model(member.word, member.index, member.kept) for member in pool.members]
    words = dict.fromkeys(model.word for model in members)
    return [*members, *(Model(word, index, "fresh") for word in words for index in range(fresh))]


def require_compatible(pool: Pool, data: RealSet) -> None:
    """Raises BadInput if ``pool`` has other classes, channels or pixels than ``data``."""
    where = f"evaluate.assess.teachers has {pool.info['pool']!r}, whose models"
    if pool.classes != data.classes:
        raise BadInput(f"{where} know other classes than the dataset's: what they say of its images means nothing.")
    if pool.shape[:2] != data.shape[:2]:
        raise BadInput(
            f"{where} take {pool.shape[0]} channels of {pool.shape[1]} px, but the images have {data.shape[0]} of "
            f"{data.shape[1]} px."
        )


def measure(job: Job, task: Task, device: str) -> None:
    """Assesses all sets of ``job`` under its model, class by class, resuming from the last checkpoint.

    Writes ``record.json`` into the result of the task: a list of mappings with ``set``, ``assessment`` and ``value``.
    Distances and diversity are means over the classes. The value is None if it is undefined: features of a network
    without any, diversity of classes with one image. Of a random network only the distances are recorded, with
    ``fresh_`` before their names.

    Args:
        job: the model and the sets.
        task: holds its checkpoints and its result.
        device: as torch spells it, ``cpu`` or ``cuda:0``.
    """
    state, chunk = task.start(), job.chunk
    data = loaded(job.data, device)
    sets, pool = sets_of(job.sets, data), Pool(job.pool.parent, device)
    # a fixed seed: every model compares every set with the same real images, so that distances differ by the sets alone
    real = data.sample([job.real] * len(data.classes), generator(0, "assess real"))
    network = _network(pool, job.model, data, real, chunk)
    images_of = {name: (pool.take(each.images, each.space), classes_of(each)) for name, each in sets.items()}
    done: dict[str, Any] = {"label": 0, "distances": {name: [] for name in images_of}}

    def advance() -> dict[str, float]:
        images = _real(data, real[done["label"]], pool)
        for name, values in _distances(network, images, images_of, done["label"], chunk).items():
            done["distances"][name].append(values)
        done["label"] += 1
        return {}

    complete(
        task,
        state,
        advance=advance,
        state_dict=lambda: done,
        load_state_dict=done.update,
        at=lambda: done["label"],
        total=len(real),
        unit="class",
    )
    record = []
    for name, (images, labels) in images_of.items():
        distances = done["distances"][name]
        values = {key: mean_of(each[key] for each in distances) for key in distances[0]}
        if job.model.kept == "fresh":
            values = {f"fresh_{key}": value for key, value in values.items() if key.endswith("_distance")}
        else:
            values |= semantics(network, images, labels, chunk)
        record += [{"set": name, "assessment": key, "value": value} for key, value in values.items()]
    with task.result() as folder:
        files.save_json(folder / RECORD, record)


def _distances(
    network: "Network | Foreign", images: Tensor, sets: Mapping[str, tuple[Tensor, Tensor]], label: int, chunk: int
) -> dict[str, dict[str, float | None]]:
    """Returns the measures of one class: the images of each set against real images.

    Args:
        network: the model.
        images: real images (N, C, H, W) of the class, as the model takes them.
        sets: images, as the model takes them, and their classes, by the name of the set.
        label: the class.
        chunk: images that pass through the network together.

    Returns:
        Values by measure, by set. A set without images of the class is left out.
    """
    real_gradients = gradients(network, images, label, chunk)
    real = features(network, images, chunk) if has_features(network) else None
    values = {}
    for name, (set_images, labels) in sets.items():
        synthetic = set_images[labels == label]
        if len(synthetic):
            synthetic_gradients = gradients(network, synthetic, label, chunk)
            values[name] = {
                "gradient_distance": gradient_distance(real_gradients, synthetic_gradients),
                **_feature_distances(real, None if real is None else features(network, synthetic, chunk)),
            }
    return values


def _feature_distances(real: Tensor | None, distilled: Tensor | None) -> dict[str, float | None]:
    """The measures of the features (N, F) of one class by name; all None for a network without features."""
    if real is None or distilled is None:
        return dict.fromkeys(("feature_distance", "kernel_distance", "feature_diversity"))
    return {
        "feature_distance": mean_distance(real, distilled),
        "kernel_distance": kernel_distance(real, distilled),
        "feature_diversity": spread(distilled),
    }


def _network(pool: Pool, model: Model, data: RealSet, real: Sequence[Tensor], chunk: int) -> "Network | Foreign":
    """Returns the network of ``model`` in eval mode, its weights ready for gradients.

    Batch norms of random networks take their statistics from 16 real images of each class, or all that it has, as DC's do.
    """
    if model.kept != "fresh":
        member = next(m for m in pool.members if (m.word, m.index, m.kept) == (model.word, model.index, model.kept))
        return pool.network(member).requires_grad_(True)
    network = build(model.word, *pool.shape, generator(model.index, "assess", model.word)).to(pool.device)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        for module in norms:
            module.momentum = None  # the mean over the chunks, in place of a moving average
        few = [indices[place : place + 1] for place in range(SETTLING) for indices in real]  # classes in turn
        images = _real(data, torch.cat(few), pool)
        # chunks of nearly equal size: the mean over them weighs all images alike
        with torch.no_grad():
            for part in images.tensor_split(-(-len(images) // chunk)):
                network(part)
    return network.eval()


def _real(data: RealSet, indices: Tensor, pool: Pool) -> Tensor:
    """Returns the training images at ``indices`` as the networks of the pool take them."""
    images = data.train.images[indices.to(data.train.images.device)]
    return pool.take(data.encode(images), data.space)
