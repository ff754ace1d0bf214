"""A teacher trained on real images and their labels."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from stages.console.progress import Progress
from stages.containers.real import RealSet, Split
from stages.networks.build import build, parameters
from stages.runtime import tensors
from stages.runtime.errors import BadInput
from stages.runtime.generators import generator
from stages.runtime.work import Task
from stages.teachers.settings import PoolSettings
from stages.training.accuracy import accuracy
from stages.training.loop import Training
from stages.training.losses import loss_of

RESULT = "teacher.safetensors"


@dataclass(frozen=True)
class Job:
    """One teacher to train: the ``index``-th network ``word`` of a pool on the RealSet in ``data``."""

    task: Task
    data: Path
    settings: PoolSettings
    word: str
    index: int
    device: str


def train(job):
    """Train the teacher of ``job``, resuming where an earlier run stopped; its weights and record go into the task."""
    data = _dataset(job.data, job.device)
    settings, state = job.settings, job.task.start()
    held_out = "best" in settings.keep
    split, validation = _split(data) if held_out else (data.train, None)
    network = build(job.word, *data.shape, generator(settings.seed, "teacher", job.word, job.index)).to(job.device)
    training = Training(
        network,
        lambda index: (data.encode(split.images[index]), split.labels[index]),
        len(split),
        loss_of("ce"),
        settings.training,
        settings.seed,
        f"teacher/{job.word}/{job.index}",
        data.info["flip"],
        settings.precision,
        settings.compile,
    )
    kept, curve = {}, []
    if state:
        training.load_state_dict(state["training"])
        kept, curve = state["kept"], state["curve"]

    with Progress(
        job.task.label, settings.training.epochs, start=training.epoch, unit="epoch", live=job.task.folder / "live.csv"
    ) as bar:
        while not training.done:
            if finished := training.advance():
                curve.append([training.epoch, *finished])
                _keep(kept, training, settings, data, validation)
                bar.advance(loss=finished[0], accuracy=finished[1])
            if job.task.due():
                job.task.checkpoint({"training": training.state_dict(), "kept": kept, "curve": curve})

    record = {"network": job.word, "index": job.index, "parameters": parameters(network), "curve": curve, "kept": []}
    weights = {}
    for name in map(str, settings.keep):
        network.load_state_dict(kept[name]["weights"])
        weights |= {f"{name}/{key}": value for key, value in kept[name]["weights"].items()}
        score = accuracy(network, data, data.test, settings.precision)
        record["kept"].append({"name": name, "epoch": kept[name]["epoch"], "accuracy": score})
    with job.task.result() as folder:
        tensors.save(folder / RESULT, weights, record)


@lru_cache(maxsize=1)
def _dataset(folder, device):
    return RealSet.load(folder).to(device)


def _split(data):
    """(training, validation): every tenth image of each class is held out."""
    held = torch.zeros(len(data.train), dtype=torch.bool)
    for members in data.members:
        held[members[9::10]] = True
    if not held.any():
        raise BadInput("teacher keep 'best' holds out every tenth image of a class, but no class has ten; keep 'last'.")
    held = held.to(data.train.labels.device)
    return tuple(Split(data.train.images[mask], data.train.labels[mask]) for mask in (~held, held))


def _keep(kept, training, settings, data, validation):
    """Put the weights of the epoch just finished under every name of ``settings.keep`` that wants them."""
    scored = {"best": validation, "best_test": data.test}
    for name in settings.keep:
        if name in scored:
            score = accuracy(training.network, data, scored[name], settings.precision)
            wanted = str(name) not in kept or score > kept[name]["score"]
        else:
            score, wanted = None, name in ("last", training.epoch) and (name != "last" or training.done)
        if wanted:
            weights = {key: value.detach().clone() for key, value in training.network.state_dict().items()}
            kept[str(name)] = {"weights": weights, "epoch": training.epoch, "score": score}
