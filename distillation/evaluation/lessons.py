"""The lessons of students whose labels lie beside their set: a teacher that labels on the fly, or stored logits.

A lesson yields the augmented batches of one student with a teacher's logits for exactly these images, see
``training.loop.Lesson``. Both functions are values of ``classify.Protocol.lesson``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from distillation.data.distilled import DistilledSet
from distillation.evaluation.classify import Job
from distillation.evaluation.sets import FromFile
from distillation.labels.predict import teacher_logits
from distillation.labels.teacher_batches import OnlineBatches, StoredBatches
from distillation.runtime.errors import BadInput
from distillation.teachers.pool import Pool

if TYPE_CHECKING:
    from distillation.training.settings import OnlineSettings


def online(job: Job, device: str, flip: bool) -> tuple[OnlineBatches, float]:
    """Builds the lesson of a student whose set has its teachers beside it: they label every batch.

    Args:
        job: the student, whose source is a file with labels beside it.
        device: of images and teachers.
        flip: whether a mirrored image keeps its class.

    Returns:
        The lesson, and the temperature of its logits that relabelling recorded.

    Raises:
        BadInput: the teachers have other classes than the set.
    """
    path, labels = _files(job)
    distilled = DistilledSet.load(path, device)
    labelling, protocol = distilled.info["labelling"], job.protocol
    pool = Pool(labels.parent, device)
    if pool.classes != distilled.info["classes"]:
        raise BadInput(f"{labels} has teachers of other classes than {path}: run the stage relabel again.")
    logits_of = teacher_logits(pool, distilled.space, labelling["pick"], labelling["mode"], protocol.precision)
    views, name = cast("OnlineSettings", protocol.settings), f"student/{job.network}"
    lesson = OnlineBatches(distilled.images, distilled.space, logits_of, views, views.batch, flip, job.seed, name)
    return lesson, labelling["temperature"]


def fkd(job: Job, device: str, flip: bool) -> tuple[StoredBatches, float]:
    """Builds the lesson of a student whose set has stored logits beside it; arguments and result are as in ``online``.

    ``flip`` is not used: mirroring was drawn when the labels were stored, so every seed of a student sees the same
    batches.

    Raises:
        BadInput: logits are stored for fewer epochs than the student trains, or their file is damaged.
    """
    path, labels = _files(job)
    distilled = DistilledSet.load(path, device)
    lesson = StoredBatches(distilled.images, distilled.space, labels, job.protocol.settings.epochs)
    return lesson, distilled.info["labelling"]["temperature"]


def _files(job: Job) -> tuple[Path, Path]:
    """Returns the file of the student's set, and the file beside it that holds teachers or logits."""
    source = job.source
    assert isinstance(source, FromFile) and source.labels is not None
    return source.path, source.labels


LESSONS = {"online": online, "fkd": fkd}
