"""Transfer of a pre-trained network to another dataset: fine-tuning, or a linear layer on its features."""

import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.augment.standard import crop_flip
from distillation.data.real import RealSet, loaded
from distillation.evaluation.pretrain import WEIGHTS
from distillation.evaluation.steps import Batches, Steps, run
from distillation.evaluation.transfer_settings import Finetune, Linear, StepSettings
from distillation.networks.build import Network, build
from distillation.runtime import files, tensors
from distillation.runtime.device import autocast, compiled
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.runtime.work import Task
from distillation.training.accuracy import accuracy
from distillation.training.schedules import cosine

RECORD = "record.json"
_CHUNK = 512  # house: images that pass through a network together


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of transferring one network to a target dataset.

    Attributes:
        data: the folder of the target's RealSet.
        start: the Task that pre-trains the network; None: it starts from scratch.
        protocol: ``finetune`` (all layers) or ``linear`` (a linear layer on frozen features).
        settings: the section of that protocol in ``evaluate.transfer``.
        network: network name.
        seed: names all draws: initial classifier, order of images, crops and mirrors.
        precision: ``fp32`` or ``bf16``, of the forward passes.
        compile: whether the network is compiled; ``linear`` compiles nothing.
    """

    data: Path
    start: Task | None
    protocol: str
    settings: Finetune | Linear
    network: str
    seed: int
    precision: str
    compile: bool


def transfer(job: Job, task: Task, device: str) -> None:
    """Trains and tests the network of ``job``, resuming from the last checkpoint.

    Writes ``record.json`` into the result of the task: ``accuracy`` on the target's test split in percent, the last
    ``loss``, and ``steps``.

    Args:
        job: network and target.
        task: holds its checkpoints and its result.
        device: as torch spells it, ``cpu`` or ``cuda:0``.
    """
    data = loaded(job.data, device)
    network = carried(job.network, data.shape, job.start, generator(job.seed, "transfer", job.network)).to(device)
    steps = job.settings.on(data.info["name"])
    training = PROTOCOLS[job.protocol](job, network, data, steps)
    loss = run(task, training, steps, lambda: training.at, "step", f"evaluate.transfer.{job.protocol}.lr")
    record = {"accuracy": accuracy(network, data, data.test, job.precision), "loss": loss, "steps": training.at}
    with task.result() as folder:
        files.save_json(folder / RECORD, record)


def carried(network: str, shape: tuple[int, int, int], start: Task | None, draws: torch.Generator) -> nn.Module:
    """Returns a network for the target, on the CPU: pre-trained layers, and a fresh classifier on top.

    Args:
        network: network name.
        shape: (channels, pixels of a side, classes) of the target.
        start: the finished Task of the pre-training; None: all layers are fresh.
        draws: a CPU generator for fresh weights.
    """
    fresh = build(network, *shape, draws)
    if start:
        folder = start.done
        content, record = tensors.load(folder / WEIGHTS)
        if not math.isfinite(record["loss"]):
            print(
                f"note: {start.label} diverged, and so will what starts from it: lower lr in its section of evaluate.pretrain.",
                file=sys.stderr,
            )
        # the pre-trained classifier is for the set's classes or features, not for the target's classes
        body = {name: value for name, value in content.items() if not name.startswith("classifier.")}
        fresh.load_state_dict({**fresh.state_dict(), **body})
    return fresh


def _finetune(job: Job, network: nn.Module, data: RealSet, steps: int) -> Steps:
    """Returns the Steps that train all layers on the target's training images by cross-entropy."""
    settings, name = cast("Finetune", job.settings), f"transfer/{job.network}"
    batches = Batches(len(data.train), settings.batch, job.seed, name)
    forward = compiled(network) if job.compile else network

    def loss_at(step: int) -> Tensor:
        index = to_device(batches(step), data.train.labels.device)
        raw = cast("Tensor", data.train.images[index]).float() / 255
        if settings.crop:  # before they are normalised, so that what comes in from outside is black
            draws = generator(job.seed, name, "augment", step)
            raw = crop_flip(raw, draws, data.info["flip"], settings.crop)
        images = data.space.encode(raw)  # in full precision, as it is when the network is tested
        with autocast(raw.device, job.precision):
            logits = forward(images)
        return F.cross_entropy(logits.float(), data.train.labels[index])

    return Steps(network, loss_at, _sgd(network, settings), partial(cosine, whole=steps), steps)


def _linear(job: Job, network: Network, data: RealSet, steps: int) -> Steps:
    """Returns the Steps that train the classifier alone, on features that are computed once, without augmentation."""
    batches = Batches(len(data.train), job.settings.batch, job.seed, f"linear/{job.network}")
    # computed anew when work resumes: a checkpoint then holds the classifier alone
    features, classifier = _features(network, data, job.precision), network.classifier

    def loss_at(step: int) -> Tensor:
        index = to_device(batches(step), data.train.labels.device)
        return F.cross_entropy(classifier(features[index]), data.train.labels[index])

    return Steps(classifier, loss_at, _sgd(classifier, job.settings), partial(cosine, whole=steps), steps)


@torch.no_grad()
def _features(network: Network, data: RealSet, precision: str) -> Tensor:
    """Returns features (N, F) float32 of the un-augmented training images, in eval mode, on the device."""
    network.eval()

    def of(images: Tensor) -> Tensor:
        encoded = data.encode(images)  # in full precision, as it is when the network is tested
        with autocast(images.device, precision):
            return network.body(encoded).flatten(1)

    return torch.cat([of(images) for images in data.train.images.split(_CHUNK)]).float()


def _sgd(network: nn.Module, settings: StepSettings) -> torch.optim.SGD:
    return torch.optim.SGD(
        network.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay, foreach=True
    )


PROTOCOLS = {"finetune": _finetune, "linear": _linear}
