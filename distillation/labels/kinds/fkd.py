"""A pool's stored logits for every batch of many epochs, with the draws of those batches (FKD, ECCV 2022)."""

from pathlib import Path

from distillation import paths
from distillation.augment.views import ViewSettings
from distillation.bounds import Count
from distillation.data.distilled import DistilledSet
from distillation.data.stored import Form
from distillation.labels import storing
from distillation.labels.labelling import Files, Labelling, beside
from distillation.labels.settings import Online
from distillation.labels.teacher_batches import labels_of
from distillation.teachers.pool import FILE

store = storing.store  # the work of its ``jobs``


class Settings(Online, ViewSettings):
    """The section ``relabel.fkd``: which batches are drawn and labelled.

    Attributes:
        epochs: number of epochs that are stored, the most that a student can train.
        batch: images of a batch.
    """

    epochs: Count
    batch: Count


def jobs(settings: Settings, pool: Path, flip: bool, control: bool, pixels: Form) -> dict[str, storing.Job]:
    """Returns the jobs that store the labels, a job for each span of epochs of each set; see ``storing``.

    Args:
        settings: the section ``relabel.fkd``.
        pool: the folder of the pool.
        flip: whether a mirrored image keeps its class.
        control: whether the set's control is labelled, too.
        pixels: the form of the images, see ``data.stored.as_read``.

    Returns:
        Jobs by label; those of one set begin with ``relabel`` and the set's file.
    """
    # single settings, not the section: students apply the temperature to stored logits, so it is no part of the job
    views = ViewSettings(**{name: getattr(settings, name) for name in ViewSettings.model_fields})
    return {
        storing.label(name, span): storing.Job(
            distilled=paths.DISTILLED / paths.SET_FILE,
            control_from=paths.DATASET if name == paths.CONTROL_FILE else None,
            pixels=pixels,
            teachers=pool / FILE,
            flip=flip,
            views=views,
            pick=settings.pick,
            mode=settings.mode,
            batch=settings.batch,
            first=span.start,
            end=span.stop,
        )
        for name in [paths.SET_FILE, *([paths.CONTROL_FILE] if control else [])]
        for span in storing.spans(settings.epochs)
    }


def label(distilled: DistilledSet, name: str, labelling: Labelling) -> tuple[DistilledSet, Files]:
    """Returns the set without targets, and the file of its stored labels: the results of all its jobs, joined.

    Args:
        distilled: the set, or its control.
        name: the name of its file, by which the results in ``labelling.stored`` are found.
        labelling: pool, settings and the finished tasks of ``jobs``.
    """
    content = storing.stored(labelling.stored, name)
    record = labelling.settings.model_dump()
    file = labels_of(Path(name), "fkd")
    assert file is not None
    return beside(distilled, "fkd", labelling.settings, content), {file.name: (content, record)}
