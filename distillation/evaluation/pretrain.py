"""Pre-training of one network on a set of images, before transfer or knowledge distillation carries it to a target."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from distillation.augment.siamese import augment_batch
from distillation.augment.strategy import resolve
from distillation.data.distilled import DistilledSet
from distillation.data.real import loaded
from distillation.evaluation.sets import Noise, Source
from distillation.evaluation.steps import Batches, Steps, run
from distillation.evaluation.transfer_settings import SoftSettings
from distillation.networks.build import build
from distillation.runtime import tensors
from distillation.runtime.device import autocast, compiled
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.runtime.work import Task
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.schedules import warmup_cosine
from distillation.training.settings import LabelSettings

WEIGHTS = "pretrained.safetensors"
# By the kind of stored labels, the section of ``evaluate.pretrain`` by which networks learn them.
USED_AS = {"hard": "hard", "soft": "soft", "logits": "soft", "regression": "soft", "features": "features"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of pre-training one network on a set.

    Attributes:
        data: the folder of the RealSet that was distilled, or whose images ``source`` chooses.
        source: the images of the set; not Noise.
        kind: how their labels are used: ``hard``, ``soft`` or ``features``, a key of ``evaluate.pretrain``.
        network: network name.
        seed: names all draws: initial weights, order of images, augmentation.
        settings: those of the kind in ``evaluate.pretrain``: SoftSettings of soft, else LabelSettings.
        precision: ``fp32`` or ``bf16``, of the forward passes.
        compile: whether the network is compiled.
    """

    data: Path
    source: Source
    kind: str
    network: str
    seed: int
    settings: LabelSettings | SoftSettings
    precision: str
    compile: bool


def used_as(path: Path) -> str:
    """Returns how pre-training uses the labels of a set: ``hard``, ``soft`` or ``features``, see ``USED_AS``.

    Args:
        path: file of a DistilledSet.

    Raises:
        BadInput: the labels are not stored with the images (kinds online and fkd), or the file is damaged.
    """
    kind = DistilledSet.load(path).kind
    if kind not in USED_AS:
        raise BadInput(f"the set has labels of kind {kind}, but pre-training takes {', '.join(USED_AS)}.")
    return USED_AS[kind]


def pretrain(job: Job, task: Task, device: str) -> None:
    """Pre-trains the network of ``job``, resuming from the last checkpoint.

    Writes ``pretrained.safetensors`` into the result of the task: the weights, and a record with network name, seed and
    last loss.

    Args:
        job: network and set.
        task: holds its checkpoints and its result.
        device: as torch spells it, ``cpu`` or ``cuda:0``.
    """
    data = loaded(job.data, device)
    assert not isinstance(job.source, Noise)
    batch_of, count = job.source.images(data, job.kind)
    # the targets of one image tell how wide the last layer is: classes (n,), or vectors (n, K) or features (n, F)
    targets = batch_of(torch.zeros(1, dtype=torch.int64, device=device))[1]
    outputs = len(data.classes) if targets.ndim == 1 else targets.shape[1]
    # the same seed starts from the same body on every set, so that sets are compared in pairs
    network = build(job.network, *data.shape[:2], outputs, generator(job.seed, "student", job.network)).to(device)
    name = f"student/{job.network}"
    settings, lower = job.settings, f"evaluate.pretrain.{job.kind}.lr"
    if isinstance(settings, SoftSettings):
        steps = _regression(job, settings, network, batch_of, count, name, data.info["flip"], device)
        loss = run(task, steps, steps.count, lambda: steps.at, "step", lower)
    else:
        training = Training(
            network,
            batch_of,
            count,
            loss_of(settings.loss),
            settings,
            job.seed,
            name,
            data.info["flip"],
            job.precision,
            job.compile,
            pad_value=data.space.pad_value(),
        )
        loss = run(task, training, settings.epochs, lambda: training.epoch, "epoch", lower)
    with task.result() as folder:
        record = {"network": job.network, "seed": job.seed, "loss": loss}
        tensors.save(folder / WEIGHTS, dict(network.state_dict()), record)


def _regression(
    job: Job,
    settings: SoftSettings,
    network: nn.Module,
    batch_of: Callable[[Tensor], tuple[Tensor, Tensor]],
    count: int,
    name: str,
    flip: bool,
    device: str,
) -> Steps:
    """Returns the Steps towards soft labels, by half the squared error as in KIP and FRePo.

    It is summed over classes, and its mean is taken over the images of a batch.
    """
    batches = Batches(count, settings.batch, job.seed, name)
    forward = compiled(network) if job.compile else network

    def loss_at(step: int) -> Tensor:
        images, targets = batch_of(to_device(batches(step), device))
        images = augmented(images, settings.augment, generator(job.seed, name, "augment", step), flip)
        with autocast(images.device, job.precision):
            outputs = forward(images)
        return (outputs.float() - targets).square().sum(1).mean() / 2

    optimizer = torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay, foreach=True)
    factor = partial(warmup_cosine, steps=settings.steps, warmup=settings.warmup)
    return Steps(network, loss_at, optimizer, factor, settings.steps)


def augmented(images: Tensor, augment: str, draws: torch.Generator, flip: bool) -> Tensor:
    """Augments images (n, C, S, S).

    Args:
        images: in any space.
        augment: ``dsa``: all siamese operations, each image with parameters of its own; ``none``: images as they are.
        draws: a CPU generator.
        flip: whether images may be mirrored.

    Returns:
        Images of the same shape.
    """
    return augment_batch(images, resolve("auto", flip), draws) if augment == "dsa" else images
