"""Assessing the sets under one model: a member of a pool, or a random network like it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from distillation.data.real import loaded
from distillation.evaluation.assess.features import features, kernel_distance, mean_distance, mean_of, spread
from distillation.evaluation.assess.gradients import gradient_distance, gradients
from distillation.evaluation.assess.semantics import semantics
from distillation.evaluation.assess.sets import sets_of
from distillation.methods.families.gradient_distances import SETTLING
from distillation.networks.build import build, has_features
from distillation.runtime import files
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.teachers.pool import Pool
from distillation.training.resume import complete

RECORD = "record.json"


@dataclass(frozen=True)
class Model:
    """The ``index``-th network ``word`` at the epoch ``kept``, or, where that is ``fresh``, with random weights."""

    word: str
    index: int
    kept: str

    def __str__(self):
        return f"{self.word}/{self.index}/{self.kept}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """An assessment of sets under one model.

    Attributes:
        data: the folder of the RealSet that the sets are held against.
        sets: name to file of the sets.
        pool: the file of the pool.
        model: a member of it, or a random network like one.
        real: real images of each class, at most.
        chunk: images that pass through the network together.
    """

    data: Path
    sets: dict[str, Path]
    pool: Path
    model: Model
    real: int
    chunk: int


def models_of(pool, fresh):
    """The Models of a Pool, and ``fresh`` random ones of each of its words."""
    members = [Model(member.word, member.index, member.kept) for member in pool.members]
    words = dict.fromkeys(model.word for model in members)
    return [*members, *(Model(word, index, "fresh") for word in words for index in range(fresh))]


def suits(pool, data):
    """Raise BadInput where ``pool`` cannot judge the images and classes of the RealSet ``data``."""
    where = f"evaluate.assess.teachers has {pool.info['pool']!r}, whose models"
    if pool.classes != data.classes:
        raise BadInput(f"{where} know other classes than the dataset's: what they say of its images means nothing.")
    if pool.shape[:2] != data.shape[:2]:
        raise BadInput(
            f"{where} take {pool.shape[0]} channels of {pool.shape[1]} px, but the images have {data.shape[0]} of "
            f"{data.shape[1]} px."
        )


def measure(job: Job, task: Task, device: str) -> None:
    """Assesses under the model of ``job``, class by class, resuming where an earlier run stopped.

    The task's record is a list of ``set``, ``assessment`` and ``value``, which is None where there is none: features of
    a network without, diversity of single images.
    """
    state, chunk = task.start(), job.chunk
    data = loaded(job.data, device)
    sets, pool = sets_of(job.sets, data), Pool(job.pool.parent, device)
    real = data.sample([job.real] * len(data.classes), generator(0, "assess real"))
    network = _network(pool, job.model, data, real, chunk)
    sets = {name: (pool.take(each.images, each.space), each.labels) for name, each in sets.items()}
    done = {"label": 0, "distances": {name: [] for name in sets}}

    def advance():
        images = _real(data, real[done["label"]], pool)
        for name, values in _distances(network, images, sets, done["label"], chunk).items():
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
    for name, (images, labels) in sets.items():
        distances = done["distances"][name]
        values = {key: mean_of(each[key] for each in distances) for key in distances[0]}
        if job.model.kept == "fresh":
            values = {f"fresh_{key}": value for key, value in values.items() if key.endswith("_distance")}
        else:
            values |= semantics(network, images, labels, chunk)
        record += [{"set": name, "assessment": key, "value": value} for key, value in values.items()]
    with task.result() as folder:
        files.save_json(folder / RECORD, record)


def _distances(network, images, sets, label, chunk):
    """Set to its values for one class: the set's images of that class against the real ``images``."""
    embeds = has_features(network)
    gradient = gradients(network, images, label, chunk)
    seen = features(network, images, chunk) if embeds else None
    found = {}
    for name, (all_, labels) in sets.items():
        mine = all_[labels == label]
        if len(mine):
            made = features(network, mine, chunk) if embeds else None
            found[name] = {
                "gradient_distance": gradient_distance(gradient, gradients(network, mine, label, chunk)),
                "feature_distance": mean_distance(seen, made) if embeds else None,
                "kernel_distance": kernel_distance(seen, made) if embeds else None,
                "feature_diversity": spread(made) if embeds else None,
            }
    return found


def _network(pool, model, data, real, chunk):
    """The network of ``model`` in eval mode, its weights ready for gradients.

    Batch norms of random networks take their statistics from 16 real images of each class, which DC also freezes.
    """
    if model.kept != "fresh":
        member = next(m for m in pool.members if (m.word, m.index, m.kept) == (model.word, model.index, model.kept))
        return pool.network(member).requires_grad_(True)
    network = build(model.word, *pool.shape, generator(model.index, "assess", model.word)).to(pool.device)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        for module in norms:
            module.momentum = None  # the mean over the chunks
        few = min(SETTLING, *map(len, real))
        images = _real(data, torch.stack([indices[:few] for indices in real], 1).flatten(), pool)
        with torch.no_grad():
            for part in images.tensor_split(-(-len(images) // chunk)):
                network(part)
    return network.eval()


def _real(data, indices, pool):
    images = data.train.images[indices.to(data.train.images.device)]
    return pool.take(data.encode(images), data.space)
