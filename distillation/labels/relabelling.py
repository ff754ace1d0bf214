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
    """Writes the labelled set, its control and the files beside them, computed on the device of ``distilled``.

    Args:
        out: the folder.
        distilled: the set.
        common: the section ``relabel``.
        kind: a module of ``kinds``.
        settings: its section.
        stored: the finished tasks of its jobs, by label.

    Raises:
        BadInput: the pool has other classes than the set, or other inputs; the images cannot have that form.
    """
    pool = None if common.kind == "keep" else _pool(distilled, common)
    sets, beside, teacher = _seen(distilled, common), {}, None
    if pool is not None:
        labelling = Labelling(pool=pool, settings=settings, stored=stored)
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
    """Loads the pool that labels the set."""
    pool = Pool(paths.POOLS / common.teacher, distilled.images.device)
    if common.kind != "features" and pool.classes != distilled.info["classes"]:
        raise BadInput(f"relabel.teacher is {common.teacher!r}, whose classes are not those of the distilled set.")
    return pool


def _seen(distilled: DistilledSet, common: RelabelCommon) -> dict[str, DistilledSet]:
    """Returns the set and its control, if a teacher labels one, by file, with the images that teachers and students see."""
    sets = {paths.SET_FILE: distilled}
    if common.control and common.kind != "keep":
        sets[paths.CONTROL_FILE] = control(distilled, RealSet.load(paths.DATASET, distilled.images.device))
    return {name: as_read(each, common.pixels) for name, each in sets.items()}
