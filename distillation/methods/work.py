"""Distillation as resumable work: a job for each shard of a set, and the set that the finished shards form."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import pandas as pd
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

RECORD = "record.json"
_POINTS = 500  # house: of a curve, at least, if there are as many updates, and less than twice as many


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of distilling one shard of a set.

    Attributes:
        data: the folder of the RealSet.
        teachers: the file of the pool of ``method.teacher``; None if it is not read.
        guides: the file of the pool of ``method.guidance.teacher``; None if it is not read.
        read: other files that the method reads.
        shard: the shard's number.
        common: the section ``method``, with the ``ipc`` of the shard.
        settings: the method's own section, without the number of shards.
    """

    data: Path
    teachers: Path | None
    guides: Path | None
    read: tuple[Path, ...]
    shard: int
    common: Common
    settings: Section


def distill(job: Job, task: Task, device: str) -> None:
    """Runs the method of ``job`` to its end, resuming from the last checkpoint; writes set and record into the task.

    Raises:
        Diverged: a recorded value, or an image at the end, is not finite.
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
        except Diverged as fault:  # which the method found itself, as it solved or learnt
            raise Diverged(f"update {done['updates'] + 1}: {fault}") from None
        metrics, done["updates"] = dict(unit.metrics), unit.updates
        if unit.updated and (unit.updates % every == 0 or method.at == method.total):
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
    distilled = method.result()
    if not distilled.images.isfinite().all():
        raise Diverged(f"the images are not finite at the end: lower {lower}.")
    cost = {"updates": done["updates"], **method.cost().record()}
    if guidance:
        cost = guidance.added_to(cost, method, done["updates"])
    with task.result() as folder:
        distilled.save(folder / paths.SET_FILE)
        files.save_json(folder / RECORD, {"curve": done["curve"], "cost": cost})


def rates(common: Common, settings: Section) -> str:
    """Names the settings to lower if the images diverge: the method's learning rates and, with guidance, alpha."""
    fields = [name for name in type(settings).model_fields if "lr" in name.split("_")]
    return " or ".join([*(f"method.{common.name}.{name}" for name in fields), *["method.alpha"] * common.guided])


def _method(job: Job, device: str) -> tuple[Method, Guidance | None]:
    """Builds the method and, if alpha is above zero, its guidance."""
    data, teachers, guides = loaded(job.data, device), _pool(job.teachers, device), _pool(job.guides, device)
    check(job.common.network, *data.shape[:2])
    problem = Problem(data, job.common, torch.device(device), teachers, job.shard, guides)
    method = methods.load(job.common.name).METHOD(problem, job.settings)
    return method, Guidance(problem, problem.guide_pool) if job.common.guided else None


def _pool(file: Path | None, device: str) -> Pool | None:
    """Loads a pool once for all the shards of a process."""
    return _loaded_pool(file.parent.resolve(), device) if file else None


@lru_cache(maxsize=2)
def _loaded_pool(folder: Path, device: str) -> Pool:
    return Pool(folder, device)


def write(out: Path, tasks: Sequence[Task], common: Common, settings: Section) -> None:
    """Writes the set that the finished shards form, its curve, ``info.json`` and ``metrics.json``."""
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
    """Joins several DistilledSets class by class, the shards in order within a class; a single one stays as it is."""
    first, *rest = shards
    if not rest:
        return first
    labels = torch.cat([cast("Tensor", shard.labels) for shard in shards])
    order = labels.argsort(stable=True)
    targets = None
    if first.targets is not None:
        targets = torch.cat([cast("Tensor", shard.targets) for shard in shards])[order]
    images = torch.cat([shard.images for shard in shards])[order]
    info = {**first.info, "ipc": sum(shard.info["ipc"] for shard in shards)}
    return replace(first, images=images, labels=labels[order], targets=targets, info=info)


def _mean(curves: Sequence[list[dict]]) -> pd.DataFrame:
    """Returns the mean of the shards' curves, update by update."""
    tables = [pd.DataFrame(curve, columns=pd.Index(curve[0] if curve else ["iteration", "loss"])) for curve in curves]
    return pd.DataFrame(pd.concat(tables).groupby("iteration", as_index=False).mean())
