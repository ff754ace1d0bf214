"""Lessons for students of a set whose labels lie beside it: its teacher, which labels on the fly, or what is stored."""

from distillation.data.distilled import DistilledSet
from distillation.evaluation.classify import Job
from distillation.labels.lessons import Online, Stored
from distillation.labels.predict import answering
from distillation.teachers.pool import Pool


def online(job: Job, device: str, flip: bool) -> tuple[Online, float]:
    """The lesson and its temperature for a student whose set carries its teacher beside it."""
    distilled = DistilledSet.load(job.source.path, device)
    labelling, protocol = distilled.info["labelling"], job.protocol
    pool = Pool(job.source.labels.parent, device)
    answer = answering(pool, distilled.space, labelling["pick"], labelling["mode"], protocol.precision)
    views, name = protocol.settings, f"student/{job.network}"
    lesson = Online(distilled.images, distilled.space, answer, views, views.batch, flip, job.seed, name)
    return lesson, labelling["temperature"]


def fkd(job: Job, device: str, flip: bool) -> tuple[Stored, float]:
    """The lesson and its temperature for a student whose set has its labels beside it."""
    distilled = DistilledSet.load(job.source.path, device)
    lesson = Stored(distilled.images, distilled.space, job.source.labels, job.protocol.settings.epochs)
    return lesson, distilled.info["labelling"]["temperature"]


LESSONS = {"online": online, "fkd": fkd}
