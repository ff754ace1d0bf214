"""Knowledge distillation without data of the target: a pre-trained network learns what a teacher says of a set of images.

The teacher was trained on the target; the images come from another dataset, or are noise (KRR-ST's Table 4 and code). As
there, teacher and student are in train mode, so that batch norms take the statistics of the batch, the student also when it
is tested, in batches of ``TESTED``; here it is tested in eval mode too. The teacher is given the very batch that the student
is given, although other images are what it was trained on.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from distillation.data.real import RealSet
from distillation.evaluation.pretrain import augmented
from distillation.evaluation.sets import images_of
from distillation.evaluation.steps import Batches, Steps, complete, cosine
from distillation.evaluation.transfer import RECORD, carried
from distillation.labels.predict import by_the_batch
from distillation.params import Section
from distillation.runtime import files
from distillation.runtime.device import autocast, compiled
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.teachers.pool import Pool
from distillation.training.accuracy import accuracy

TESTED = 512  # images whose statistics a batch norm takes together when a student is tested as published


@dataclass(frozen=True)
class Job:
    """Teach ``word`` what the first network of the pool in ``teachers`` says of the images of ``source``.

    ``source`` is one of ``evaluation.sets.images_of`` on the RealSet in ``made_from``, with labels used as ``kind``, or
    ``("noise", count)``, which draws every batch anew; ``data`` is the folder of the target, ``weights`` those of the
    pre-trained network, if any.
    """

    task: Task
    data: Path
    teachers: Path
    made_from: Path
    source: tuple
    kind: str | None
    weights: Path | None
    settings: Section
    word: str
    seed: int
    precision: str
    compile: bool
    device: str


def distil(job):
    """Train the student of ``job``, resuming where an earlier run stopped; its record goes into the task."""
    data, pool = RealSet.load(job.data).to(job.device), Pool(job.teachers, job.device)
    student = carried(job.word, data.shape, job.weights, generator(job.seed, "transfer", job.word)).to(job.device)
    training = _training(job, student, by_the_batch(pool.network(pool.members[0])), data)
    loss = complete(job.task, training, training.count, lambda: training.at, "step")
    record = {
        "accuracy": accuracy(student, data, data.test, job.precision),
        "batch_accuracy": _accuracy_by_the_batch(student, data, job.precision),
        "loss": loss,
        "steps": training.count,
    }
    with job.task.result() as folder:
        files.save_json(folder / RECORD, record)


def _training(job, student, teacher, data):
    settings, name = job.settings, f"kd/{job.word}"
    forward = compiled(student) if job.compile else student
    images_at, batches = _images(job, name, data)

    def loss_at(step):
        images = images_at(step)
        with autocast(images.device, job.precision):
            with torch.no_grad():
                wanted = teacher(images).float().softmax(1)
            said = forward(images)
        return F.cross_entropy(said.float(), wanted)

    rate, epochs = (settings.lr_gaussian if job.source[0] == "noise" else settings.lr), cosine(settings.epochs)
    optimizer = torch.optim.AdamW(student.parameters(), rate, weight_decay=settings.weight_decay, foreach=True)
    count = settings.epochs * batches.per_epoch
    return Steps(student, loss_at, optimizer, lambda step: epochs(step // batches.per_epoch), count)


def _images(job, name, data):
    """A function of the step that gives its images, and the Batches that they are."""
    if job.source[0] == "noise":
        batches = Batches(job.source[1], job.settings.batch, job.seed, name)
        shape = data.train.images.shape[1:]

        def noise(step):
            draws = generator(job.seed, name, "noise", step)
            return torch.randn((len(batches(step)), *shape), generator=draws).to(job.device)

        return noise, batches
    batch_of, count = images_of(job.source, RealSet.load(job.made_from).to(job.device), job.kind)
    batches = Batches(count, job.settings.batch, job.seed, name)

    def taken(step):
        images, _ = batch_of(batches(step).to(job.device))
        # mirrored whatever the set shows, as published: the teacher labels what it is given
        return augmented(images, job.settings.augment, generator(job.seed, name, "augment", step), True)

    return taken, batches


@torch.no_grad()
def _accuracy_by_the_batch(student, data, precision):
    """Percent of the test set, in its order, that the student in train mode gets right."""
    network, hits = by_the_batch(student), 0
    for images, labels in zip(data.test.images.split(TESTED), data.test.labels.split(TESTED), strict=True):
        encoded = data.encode(images)
        with autocast(images.device, precision):
            hits += (network(encoded).argmax(1) == labels).sum()
    return 100 * int(hits) / len(data.test)
