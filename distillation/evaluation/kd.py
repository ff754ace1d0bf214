"""Knowledge distillation without data of the target: a pre-trained network learns a teacher's predictions on a set of images.

The teacher was trained on the target. The images come from another dataset, or are noise (KRR-ST, Table 4 and its
code). Student and teacher are given the same batches.

As in that code, the batch norms of both use the statistics of the batch. The code also tests the student so, which
makes its accuracy depend on the batches of the test. Here a student has two accuracies: ``accuracy``, in eval mode with
running statistics, and ``batch_accuracy``, by the statistics of batches of ``TESTED`` test images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.data.real import RealSet, loaded
from distillation.evaluation.pretrain import augmented
from distillation.evaluation.sets import Noise, Source
from distillation.evaluation.steps import Batches, Steps, run
from distillation.evaluation.transfer import RECORD, carried
from distillation.evaluation.transfer_settings import Distilling
from distillation.labels.predict import by_the_batch
from distillation.runtime import files
from distillation.runtime.device import autocast, compiled
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.runtime.work import Task
from distillation.teachers.pool import Pool
from distillation.training.accuracy import accuracy, class_hits
from distillation.training.schedules import cosine

TESTED = 512  # house: images in a batch of the test in train mode, on which its batch norms depend


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of distilling a teacher's knowledge into one network.

    Attributes:
        data: the folder of the target's RealSet, whose test split the student is tested on.
        teachers: the pool's file of weights; the pool's first network is the teacher.
        images_from: the folder of the RealSet that was distilled, or whose images ``source`` chooses.
        source: the images that both networks are given; Noise draws every batch anew.
        kind: how pre-training used the labels of these images, which are not learnt here; None for Noise.
        start: the Task that pre-trains the student; None: it starts from scratch.
        settings: the section ``evaluate.kd``.
        network: network name of the student.
        seed: names all its draws: initial classifier, order of images, augmentation or noise.
        precision: ``fp32`` or ``bf16``, of the forward passes.
        compile: whether the student is compiled.
    """

    data: Path
    teachers: Path
    images_from: Path
    source: Source
    kind: str | None
    start: Task | None
    settings: Distilling
    network: str
    seed: int
    precision: str
    compile: bool


def distill_knowledge(job: Job, task: Task, device: str) -> None:
    """Trains and tests the student of ``job``, resuming from the last checkpoint.

    Writes ``record.json`` into the result of the task: ``accuracy`` and ``batch_accuracy`` on the target's test split
    in percent (see the module), the last ``loss``, and ``steps``.

    Args:
        job: the student.
        task: holds its checkpoints and its result.
        device: as torch spells it, ``cpu`` or ``cuda:0``.
    """
    data, pool = loaded(job.data, device), Pool(job.teachers.parent, device)
    student = carried(job.network, data.shape, job.start, generator(job.seed, "transfer", job.network)).to(device)
    training = _training(job, student, by_the_batch(pool.network(pool.members[0])), data, device)
    lower = f"evaluate.kd.{'lr_gaussian' if isinstance(job.source, Noise) else 'lr'}"
    loss = run(task, training, training.count, lambda: training.at, "step", lower)
    record = {
        "accuracy": accuracy(student, data, data.test, job.precision),
        "batch_accuracy": _accuracy_by_the_batch(student, data, job.precision),
        "loss": loss,
        "steps": training.at,
    }
    with task.result() as folder:
        files.save_json(folder / RECORD, record)


def require_same_task(pool: Pool, target: RealSet, which: str) -> None:
    """Raises BadInput unless a pool has the target's classes and takes images of its channels and size.

    Args:
        pool: the teachers.
        target: the dataset that the student is tested on.
        which: beginning of the sentence, which names the setting: ``evaluate.kd.teachers.svhn is 'main'``.
    """
    if pool.classes != target.classes:
        raise BadInput(f"{which}, whose classes are not those of the target.")
    if pool.shape[:2] != target.shape[:2]:
        (channels, size), (target_channels, target_size) = pool.shape[:2], target.shape[:2]
        raise BadInput(
            f"{which}, which takes {channels} channels of {size} px, but the images of the target are {target_channels} of "
            f"{target_size} px."
        )


def about(pool: Pool) -> dict:
    """Returns what ``info.json`` records of the teacher: ``pool``, ``network`` and test ``accuracy`` in percent."""
    first = pool.members[0]
    return {"pool": pool.info["pool"], "network": first.word, "accuracy": first.accuracy}


def _training(job: Job, student: nn.Module, teacher: nn.Module, data: RealSet, device: str) -> Steps:
    """Returns the Steps that minimise the cross-entropy of the student's logits to the teacher's probabilities."""
    settings, name = job.settings, f"kd/{job.network}"
    forward = compiled(student) if job.compile else student
    images_at, batches = _images(job, name, data, device)

    def loss_at(step: int) -> Tensor:
        images = images_at(step)
        with autocast(images.device, job.precision):
            with torch.no_grad():
                targets = teacher(images).float().softmax(1)  # in float32 also under autocast
            logits = forward(images)
        return F.cross_entropy(logits.float(), targets)

    rate = settings.lr_gaussian if isinstance(job.source, Noise) else settings.lr
    optimizer = torch.optim.AdamW(student.parameters(), rate, weight_decay=settings.weight_decay, foreach=True)
    count = settings.epochs * batches.per_epoch  # the rate changes from epoch to epoch, as in KRR-ST's code
    return Steps(student, loss_at, optimizer, lambda step: cosine(step // batches.per_epoch, settings.epochs), count)


def _images(job: Job, name: str, data: RealSet, device: str) -> tuple[Callable[[int], Tensor], Batches]:
    """Returns a function from the step to its images (n, C, S, S), and the Batches of their indices."""
    if isinstance(job.source, Noise):
        batches = Batches(job.source.count, job.settings.batch, job.seed, name)
        shape = data.train.images.shape[1:]

        def noise(step: int) -> Tensor:
            draws = generator(job.seed, name, "noise", step)
            return to_device(torch.randn((len(batches(step)), *shape), generator=draws), device)

        return noise, batches
    assert job.kind is not None
    batch_of, count = job.source.images(loaded(job.images_from, device), job.kind)
    batches = Batches(count, job.settings.batch, job.seed, name)

    def taken(step: int) -> Tensor:
        images, _ = batch_of(to_device(batches(step), device))
        # mirrored for any set, as published: the teacher labels the mirrored images themselves
        return augmented(images, job.settings.augment, generator(job.seed, name, "augment", step), True)

    return taken, batches


def _accuracy_by_the_batch(student: nn.Module, data: RealSet, precision: str) -> float:
    """Returns the test accuracy in percent by the statistics of each batch of ``TESTED`` images, in their order."""
    hits = class_hits(by_the_batch(student), data, data.test, precision, TESTED)
    return 100 * int(hits.sum()) / len(data.test)
