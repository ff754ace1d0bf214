"""Pre-training one network on a set of images with labels of any kind."""

from dataclasses import dataclass
from pathlib import Path

import torch

from distillation.augment.siamese import augment_batch
from distillation.augment.strategy import resolve
from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.evaluation.sets import images_of
from distillation.evaluation.steps import Batches, Steps, complete, cosine
from distillation.networks.build import build
from distillation.params import Section
from distillation.runtime import tensors
from distillation.runtime.device import autocast, compiled
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.training.loop import Training
from distillation.training.losses import loss_of

WEIGHTS = "pretrained.safetensors"
USED_AS = {"hard": "hard", "soft": "soft", "logits": "soft", "regression": "soft", "features": "features"}


@dataclass(frozen=True)
class Job:
    """Pre-train ``word`` with ``seed`` on ``source`` (see ``evaluation.sets.images_of``), whose labels are used as ``kind``.

    ``settings`` are those of the kind in ``evaluate.pretrain``; ``data`` is the folder of the set's RealSet.
    """

    task: Task
    data: Path
    source: tuple
    kind: str
    word: str
    seed: int
    settings: Section
    precision: str
    compile: bool
    device: str


def used_as(path):
    """How pre-training uses the labels of the DistilledSet in a file: as hard, soft or features.

    Raises:
        BadInput: labels that are not stored with the images.
    """
    kind = DistilledSet.load(path).kind
    if kind not in USED_AS:
        raise BadInput(f"the set has labels of kind {kind}, but pre-training takes {', '.join(USED_AS)}.")
    return USED_AS[kind]


def pretrain(job):
    """Pre-train the network of ``job``, resuming where an earlier run stopped; its weights go into the task."""
    data = RealSet.load(job.data).to(job.device)
    batch_of, count = images_of(job.source, data, job.kind)
    targets = batch_of(torch.zeros(1, dtype=torch.int64, device=job.device))[1]
    outputs = len(data.classes) if targets.ndim == 1 else targets.shape[1]
    # the same seed starts from the same body on every set, so that sets are compared in pairs
    network = build(job.word, *data.shape[:2], outputs, generator(job.seed, "student", job.word)).to(job.device)
    name = f"student/{job.word}"
    if job.kind == "soft":
        training = _regression(job, network, batch_of, count, name, data.info["flip"])
        loss = complete(job.task, training, training.count, lambda: training.at, "step")
    else:
        how = job.settings, job.seed, name, data.info["flip"], job.precision, job.compile
        training = Training(network, batch_of, count, loss_of(job.settings.loss), *how, black=data.space.black())
        loss = complete(job.task, training, job.settings.epochs, lambda: training.epoch, "epoch")
    with job.task.result() as folder:
        record = {"network": job.word, "seed": job.seed, "loss": loss}
        tensors.save(folder / WEIGHTS, dict(network.state_dict()), record)


def _regression(job, network, batch_of, count, name, flip):
    """Steps towards soft labels: half the squared error, summed over classes (KIP, FRePo)."""
    settings, batches = job.settings, Batches(count, job.settings.batch, job.seed, name)
    forward = compiled(network) if job.compile else network

    def loss_at(step):
        images, targets = batch_of(batches(step).to(job.device))
        images = augmented(images, settings.augment, generator(job.seed, name, "augment", step), flip)
        with autocast(images.device, job.precision):
            said = forward(images)
        return (said.float() - targets).square().sum(1).mean() / 2

    optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay, foreach=True)
    return Steps(network, loss_at, optimizer, cosine(settings.steps, settings.warmup), settings.steps)


def augmented(images, augment, draws, flip):
    """Images by siamese augmentation with parameters of their own (``dsa``), or as they are (``none``).

    ``flip`` says whether a mirrored image may stand for it.
    """
    return augment_batch(images, resolve("auto", flip), draws) if augment == "dsa" else images
