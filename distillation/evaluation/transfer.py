"""What is done with a pre-trained network on another dataset: all of it is fine-tuned, or a linear layer on top of it."""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from distillation.augment.standard import crop_flip
from distillation.data.real import RealSet
from distillation.evaluation.steps import Batches, Steps, complete, cosine
from distillation.networks.build import build
from distillation.params import Section
from distillation.runtime import files, tensors
from distillation.runtime.device import autocast, compiled
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.training.accuracy import accuracy

RECORD = "record.json"
_CHUNK = 512


@dataclass(frozen=True)
class Job:
    """Carry the ``weights`` of ``word`` (None: it starts from scratch) over to the RealSet in ``data`` by ``protocol``."""

    task: Task
    data: Path
    weights: Path | None
    protocol: str
    settings: Section
    word: str
    seed: int
    precision: str
    compile: bool
    device: str


def transfer(job):
    """Train the network of ``job``, resuming where an earlier run stopped; its record goes into the task."""
    data = RealSet.load(job.data).to(job.device)
    network = carried(job.word, data.shape, job.weights, generator(job.seed, "transfer", job.word)).to(job.device)
    steps = job.settings.on(data.info["name"])
    training = PROTOCOLS[job.protocol](job, network, data, steps)
    loss = complete(job.task, training, steps, lambda: training.at, "step")
    record = {"accuracy": accuracy(network, data, data.test, job.precision), "loss": loss, "steps": steps}
    with job.task.result() as folder:
        files.save_json(folder / RECORD, record)


def carried(word, shape, weights, draws):
    """A network for images and classes of ``shape`` with a fresh classifier, all else from the file ``weights`` if given."""
    network = build(word, *shape, draws)
    if weights:
        content, _ = tensors.load(weights)
        body = {name: value for name, value in content.items() if not name.startswith("classifier.")}
        network.load_state_dict({**network.state_dict(), **body})
    return network


def _finetune(job, network, data, steps):
    settings, name = job.settings, f"transfer/{job.word}"
    batches = Batches(len(data.train), settings.batch, job.seed, name)
    forward = compiled(network) if job.compile else network

    def loss_at(step):
        index = batches(step).to(job.device)
        raw = data.train.images[index].float() / 255
        if settings.crop:  # before they are normalised, so that what comes in from outside is black
            draws = generator(job.seed, name, "augment", step)
            raw = crop_flip(raw, draws, data.info["flip"], settings.crop)
        images = data.space.encode(raw)  # in full precision, as it is when the network is tested
        with autocast(raw.device, job.precision):
            logits = forward(images)
        return F.cross_entropy(logits.float(), data.train.labels[index])

    return Steps(network, loss_at, _sgd(network, settings), cosine(steps), steps)


def _linear(job, network, data, steps):
    batches = Batches(len(data.train), job.settings.batch, job.seed, f"linear/{job.word}")
    features, classifier = _features(network, data, job.precision), network.classifier

    def loss_at(step):
        index = batches(step).to(job.device)
        return F.cross_entropy(classifier(features[index]), data.train.labels[index])

    return Steps(classifier, loss_at, _sgd(classifier, job.settings), cosine(steps), steps)


@torch.no_grad()
def _features(network, data, precision):
    """Features (N, F) of the training images as they are, of the network in eval mode."""
    network.eval()

    def of(images):
        encoded = data.encode(images)  # in full precision, as it is when the network is tested
        with autocast(images.device, precision):
            return network.body(encoded).flatten(1)

    return torch.cat([of(images) for images in data.train.images.split(_CHUNK)]).float()


def _sgd(network, settings):
    return torch.optim.SGD(
        network.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay, foreach=True
    )


PROTOCOLS = {"finetune": _finetune, "linear": _linear}
