"""The out of ``relabel``: a set and its control with the labels of a kind."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from distillation import paths
from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.data.stored import as_read
from distillation.labels.control import control
from distillation.labels.labelling import Labelling, about
from distillation.labels.settings import RelabelCommon
from distillation.params import Section
from distillation.runtime import files, tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.work import Task
from distillation.teachers.pool import Pool


def relabelled(
    out: Path,
    distilled: DistilledSet,
    common: RelabelCommon,
    kind: ModuleType,
    settings: Section,
    stored: Mapping[str, Task],
) -> None:
    """Labels a set and its control, on the device of the set, and writes the out of the stage relabel.

    The out has ``distilled.safetensors``; ``control.safetensors`` if a teacher labels and ``common.control`` is true;
    the files that the kind puts beside them; ``info.json``; and ``metrics.json``, with the agreement if there is one.

    Args:
        out: an empty folder.
        distilled: the set as the method left it.
        common: the keys of the section ``relabel`` that all kinds share.
        kind: a module of ``kinds``.
        settings: the section of that kind.
        stored: the finished tasks of its jobs, by label.

    Raises:
        BadInput: the pool has other classes than the set, or takes other images; there are too few real images for the
            control; the images cannot be read from files of the form ``common.pixels``.
    """
    pool = None if common.kind == "keep" else _pool(distilled, common)
    sets, beside, teacher = _seen(distilled, common), {}, None
    if pool is not None:
        labelling = Labelling(pool=pool, settings=settings, stored=stored)
        # of the distilled set alone: control and set have one teacher, and the control's agreement is stated nowhere
        teacher = about(pool, sets[paths.SET_FILE], common.kind, settings)
        for name, each in sets.items():
            labelled, more = kind.label(each, name, labelling)
            sets[name] = replace(labelled, info={**labelled.info, "teacher": teacher})
            beside |= more
    for name, each in sets.items():
        each.save(out / name)
    for name, (content, info) in beside.items():
        tensors.save(out / name, content, info)
    labelled = sets[paths.SET_FILE]
    info = {"kind": common.kind, "labels": labelled.kind, "teacher": teacher}
    info |= {"pixels": labelled.pixels, "bytes": labelled.bytes}
    info["settings"] = {**common.model_dump(), common.kind: settings.model_dump()}
    files.save_json(out / "info.json", info)
    agreement = teacher and teacher["agreement"]
    files.save_json(out / "metrics.json", {} if agreement is None else {"agreement": agreement})


def _pool(distilled: DistilledSet, common: RelabelCommon) -> Pool:
    """Loads the pool ``relabel.teacher``.

    Raises:
        BadInput: it has other classes than the set, which matters for all kinds but features.
    """
    pool = Pool(paths.POOLS / common.teacher, distilled.images.device)
    if common.kind != "features" and pool.classes != distilled.info["classes"]:
        raise BadInput(f"relabel.teacher is {common.teacher!r}, whose classes are not those of the distilled set.")
    return pool


def _seen(distilled: DistilledSet, common: RelabelCommon) -> dict[str, DistilledSet]:
    """Returns the set and, if it is to have one, its control, by the names of their files.

    Their images are those that teachers and students see: the method's numbers, or these as read from image files.
    """
    sets = {paths.SET_FILE: distilled}
    if common.control and common.kind != "keep":
        sets[paths.CONTROL_FILE] = control(distilled, RealSet.load(paths.DATASET, distilled.images.device))
    return {name: as_read(each, common.pixels) for name, each in sets.items()}
