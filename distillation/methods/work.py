"""Distillation as resumable work: a job for each shard of a set, and the set that the finished shards form.

The stage distill makes the jobs. ``distill`` runs one of them, in a process of its own where there are several workers,
and ``write`` joins what they have left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from distillation import methods, paths
from distillation.data.distilled import DistilledSet
from distillation.data.real import loaded
from distillation.methods.base import Common, Method, Problem
from distillation.methods.driver import updates
from distillation.methods.guidance import Guidance
from distillation.networks.names import check
from distillation.params import Section
from distillation.runtime import files
from distillation.runtime.errors import Diverged, require_finite
from distillation.runtime.work import Task
from distillation.teachers.pool import Pool
from distillation.training.resume import complete

if TYPE_CHECKING:
    import pandas as pd

RECORD = "record.json"  # curve and cost of a finished shard, in the task's result
_POINTS = 500  # house: rows of a curve, up to twice as many, since the distance is rounded down; a screen shows no more


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that the distillation of one shard of a set depends on; the key of its task is derived from it.

    Attributes:
        data: the folder of the RealSet.
        teachers: the file of the pool of ``method.teacher``; None if it is not read.
        guides: the file of the pool of ``method.guidance.teacher``; None if it is not read.
        read: other files that the method reads, so that a change of them makes another key.
        shard: the shard's number.
        common: the section ``method``, with the ``ipc`` of the shard.
        settings: the method's own section, as ``Method.of_one_shard`` returns it.
    """

    data: Path
    teachers: Path | None
    guides: Path | None
    read: tuple[Path, ...]
    shard: int
    common: Common
    settings: Section


def distill(job: Job, task: Task, device: str) -> None:
    """Runs the method of ``job`` to its end, from the last checkpoint if there is one.

    It writes the distilled set and ``record.json``, with curve and cost, into the result of the task. The curve has a
    row for each of some hundred updates, equally far apart (see ``_POINTS``).

    Args:
        job: what to distil.
        task: the task that holds checkpoints and result.
        device: name of the torch device, such as ``cuda:0``.

    Raises:
        BadInput: the method, its problem or guidance refuses the settings.
        Diverged: a recorded value, or an image at the end, is not finite, or the method itself found that it cannot go
            on.
    """
    state = task.start()
    method, guidance = _method(job, device)
    done: dict[str, Any] = {"updates": 0, "curve": []}
    every, lower = max(1, method.updates // _POINTS), rates(job.common, job.settings)

    def load_state_dict(state: dict[str, Any]) -> None:
        method.load_state_dict(state["method"])
        done.update(state["done"])

    if state:
        load_state_dict(state)
    units = updates(method, guidance, start=done["updates"])

    def advance() -> dict[str, Any]:
        try:
            unit = next(units)
            recorded = unit.updated and (unit.updates % every == 0 or method.at == method.total)
            if recorded:
                method.require_sound()
        except Diverged as fault:  # which the method found itself, as it solved or learnt
            raise Diverged(f"update {done['updates'] + 1}: {fault}") from None
        metrics, done["updates"] = dict(unit.metrics), unit.updates
        if recorded:
            # float() waits for the device, so values are read, and tested for divergence, only where they are recorded
            metrics = {name: float(value) for name, value in metrics.items()}
            require_finite(metrics, f"update {unit.updates} of {method.updates}", lower)
            done["curve"].append({"iteration": unit.updates, **metrics})
        return metrics

    complete(
        task,
        None,  # loaded above: the updates begin with it
        advance=advance,
        state_dict=lambda: {"method": method.state_dict(), "done": done},
        load_state_dict=load_state_dict,
        at=lambda: method.at,
        total=method.total,
        unit="it",
    )
    distilled = finite_result(method, lower)
    cost = {"updates": done["updates"], **method.cost().record()}
    if guidance:
        cost = guidance.added_to(cost, method, done["updates"])
    with task.result() as folder:
        distilled.save(folder / paths.SET_FILE)
        files.save_json(folder / RECORD, {"curve": done["curve"], "cost": cost})


def finite_result(method: Method, lower: str) -> DistilledSet:
    """Returns the set of a finished method.

    Args:
        method: the method, after its last unit of work.
        lower: the settings to lower, as ``rates`` names them.

    Raises:
        Diverged: an image is not finite.
    """
    distilled = method.result()
    if not distilled.images.isfinite().all():
        raise Diverged(f"the images are not finite at the end: lower {lower}.")
    return distilled


def rates(common: Common, settings: Section) -> str:
    """Returns the names of the settings to lower if the images diverge, for the message of the error.

    They are the method's learning rates and, with guidance, alpha: ``method.dm.lr_img or method.alpha``.
    """
    # a field is a learning rate if "lr" is a word of its name: lr, lr_img, pool_lr
    fields = [name for name in type(settings).model_fields if "lr" in name.split("_")]
    return " or ".join([*(f"method.{common.name}.{name}" for name in fields), *["method.alpha"] * common.guided])


def _method(job: Job, device: str) -> tuple[Method, Guidance | None]:
    """Loads data and pools, and builds the method and, if alpha is above zero, its guidance."""
    data, teachers, guides = loaded(job.data, device), _pool(job.teachers, device), _pool(job.guides, device)
    check(job.common.network, *data.shape[:2])
    problem = Problem(data, job.common, torch.device(device), teachers, job.shard, guides)
    method = methods.load(job.common.name).METHOD(problem, job.settings)
    return method, Guidance(problem, problem.guide_pool) if job.common.guided else None


def _pool(file: Path | None, device: str) -> Pool | None:
    """Loads the pool of a file, once for all the shards of a process; None where there is no file."""
    return _loaded_pool(file.parent.resolve(), device) if file else None


@lru_cache(maxsize=2)  # the pool of the method and that of guidance, often the same
def _loaded_pool(folder: Path, device: str) -> Pool:
    return Pool(folder, device)


def write(out: Path, tasks: Sequence[Task], common: Common, settings: Section) -> None:
    """Joins the finished shards and writes the out of the stage distill.

    The files are the set, ``curve.csv`` (the mean over shards), ``info.json`` (parameters, cost summed over shards,
    bytes) and ``metrics.json`` (the last row of the curve).

    Args:
        out: the folder to write to.
        tasks: the finished tasks, in the order of the shards.
        common: the section ``method``, with the ``ipc`` of the whole set.
        settings: the method's own section.
    """
    folders = [task.done for task in tasks]
    distilled = merged([DistilledSet.load(folder / paths.SET_FILE) for folder in folders])
    records = [files.load_json(folder / RECORD) for folder in folders]
    distilled.save(out / paths.SET_FILE)
    curve = _mean([record["curve"] for record in records])
    curve.to_csv(out / "curve.csv", index=False, float_format="%.6g")
    info = {
        **{key: distilled.info[key] for key in ("method", "ipc", "seed", "dataset", "classes")},
        "alpha": common.alpha,
        "settings": {**common.model_dump(), common.name: settings.model_dump()},
        "cost": {key: sum(record["cost"][key] for record in records) for key in records[0]["cost"]},
        "bytes": distilled.bytes,
    }
    files.save_json(out / "info.json", info)
    last = curve.drop(columns="iteration").tail(1).to_dict("records")
    files.save_json(out / "metrics.json", {k: float(f"{v:.6g}") for values in last for k, v in values.items()})


def merged(shards: Sequence[DistilledSet]) -> DistilledSet:
    """Joins the DistilledSets of shards: sorted by class, and within a class in the order of the shards.

    A single one is returned as it is; only such may lack labels. The record is that of the first, with the sum of
    ``ipc``.
    """
    first, *rest = shards
    if not rest:
        return first
    labels = torch.cat([cast("Tensor", shard.labels) for shard in shards])
    order = labels.argsort(stable=True)  # stable: the order of shards holds within a class
    targets = None
    if first.targets is not None:
        targets = torch.cat([cast("Tensor", shard.targets) for shard in shards])[order]
    images = torch.cat([shard.images for shard in shards])[order]
    info = {**first.info, "ipc": sum(shard.info["ipc"] for shard in shards)}
    return replace(first, images=images, labels=labels[order], targets=targets, info=info)


def _mean(curves: Sequence[list[dict]]) -> "pd.DataFrame":
    """Returns the mean of the shards' curves, update by update; with columns alone if no shard has a row."""
    import pandas as pd  # slow to import, and no worker process needs it

    tables = [pd.DataFrame(curve, columns=pd.Index(curve[0] if curve else ["iteration", "loss"])) for curve in curves]
    return pd.DataFrame(pd.concat(tables).groupby("iteration", as_index=False).mean())
