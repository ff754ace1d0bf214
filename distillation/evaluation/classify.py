"""One student: a fresh network trained on a set of images, tested on the full real test set."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from distillation.console.progress import Progress
from distillation.data.indexed import indices_on
from distillation.data.real import RealSet
from distillation.evaluation.sets import images_of
from distillation.networks.build import build, flops
from distillation.runtime import files, tensors
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.training.accuracy import accuracy
from distillation.training.loop import Training
from distillation.training.losses import divergence, loss_of
from distillation.training.settings import LabelSettings, LessonSettings

WEIGHTS, RECORD = "student.safetensors", "record.json"
_POINTS = 100


@dataclass(frozen=True)
class Protocol:
    """How students are trained: on labels of ``kind``, by ``settings``, in which precision, compiled or not.

    ``test_every``: how many epochs lie between the tests whose best is recorded as ``best_test``; 0 makes none. It is
    chosen on the test set, as APM and the validation of CLOM publish it, and never stands for ``accuracy``.
    ``lesson`` is None, or a top-level function of a Job and of whether a mirrored image keeps its class: it gives what
    ``Training`` takes as a lesson (with the ``count`` of images) and the temperature of its targets.
    """

    kind: str
    settings: LabelSettings | LessonSettings
    precision: str
    compile: bool
    test_every: int = 0
    lesson: Callable | None = None


@dataclass(frozen=True)
class Job:
    """Train ``word`` with ``seed`` on ``source`` (see ``sets.images_of``) by ``protocol``."""

    task: Task
    data: Path
    source: tuple
    word: str
    seed: int
    protocol: Protocol
    device: str


def train(job):
    """Train the student of ``job``, resuming where an earlier run stopped; weights and record go into the task."""
    state, protocol, settings = job.task.start(), job.protocol, job.protocol.settings
    data = _dataset(job.data, job.device)
    if protocol.lesson:
        lesson, temperature = protocol.lesson(job, data.info["flip"])
        batch_of, count, loss = None, lesson.count, divergence(settings.loss, temperature)
    else:
        lesson, loss = None, loss_of(settings.loss)
        batch_of, count = images_of(job.source, data, protocol.kind)
    # the same seed starts from the same weights on every set, so that sets are compared in pairs
    network = build(job.word, *data.shape, generator(job.seed, "student", job.word)).to(job.device)
    training = Training(
        network,
        batch_of,
        count,
        loss,
        settings,
        job.seed,
        f"student/{job.word}",
        data.info["flip"],
        protocol.precision,
        protocol.compile,
        lesson,
        order_on=indices_on(data.train.images) if job.source == ("whole",) else None,
        black=data.space.black(),
    )
    curve, last, best = [], (math.nan, math.nan), 0.0
    if state:
        training.load_state_dict(state["training"])
        curve, last, best = state["curve"], state["last"], state["best"]
    every = max(1, settings.epochs // _POINTS)

    with Progress(
        job.task.label, settings.epochs, start=training.epoch, unit="epoch", live=job.task.folder / "live.csv"
    ) as bar:
        while not training.done:
            if finished := training.advance():
                last = finished
                bar.advance(loss=finished[0])
                if training.epoch % every == 0:
                    curve.append([training.epoch, finished[0]])
                if protocol.test_every and (training.epoch % protocol.test_every == 0 or training.done):
                    best = max(best, accuracy(network, data, data.test, protocol.precision))
            if job.task.due():
                state = {"training": training.state_dict(), "curve": curve, "last": list(last), "best": best}
                job.task.checkpoint(state)

    record = {
        "network": job.word,
        "seed": job.seed,
        "accuracy": accuracy(network, data, data.test, protocol.precision),
        **({"best_test": best} if protocol.test_every else {}),
        "train_accuracy": last[1],
        "loss": last[0],
        "curve": curve,
        "steps": training.step,
        "gflop": round(3 * count * settings.epochs * flops(job.word, *data.shape) / 1e9, 1),
    }
    with job.task.result() as folder:
        tensors.save(folder / WEIGHTS, dict(network.state_dict()), {"network": job.word, "seed": job.seed})
        files.save_json(folder / RECORD, record)


@lru_cache(maxsize=1)
def _dataset(folder, device):
    return RealSet.load(folder).to(device)
