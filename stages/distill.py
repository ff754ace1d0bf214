"""Distil the dataset with one method, in shards where the method has them.

Reads   params.yaml: the common keys of method, method.<name>, compute.threads; data/real/dataset;
        models/teachers/<method.teacher> and <method.guidance.teacher>; the file of method.imported
Writes  data/distilled: distilled.safetensors, info.json, curve.csv, metrics.json
"""

import argparse
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch

from distillation import methods
from distillation import params as parameters
from distillation.console.progress import Progress
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.real import RealSet
from distillation.methods.base import Common, Problem, check_guided, of_a_shard
from distillation.methods.guidance import Guidance
from distillation.networks.names import check
from distillation.runtime import cost, device, files, process
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs
from distillation.runtime.tasks import map_tasks
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers.pool import Pool

OUT = "data/distilled"
_POINTS = 500  # a curve longer than a screen is wide says no more


@dataclass(frozen=True)
class Job:
    """One distilled set to make: the ``shard``-th, of which ``common`` has the share."""

    task: Task
    shard: int
    common: Common
    settings: parameters.Section
    device: str


def run():
    process.begin()
    params = parameters.load()
    common = params.fields("method", Common)
    module = methods.load(common.name)
    settings = params.section(f"method.{common.name}", module.Settings)
    compute = params.section("compute", parameters.Compute)
    check_guided(module.METHOD, common)

    shards, share = of_a_shard(module.METHOD, common, settings)
    inputs = _of_one_shard(stage_inputs("distill"), share)
    made = device.made_on(compute.device)
    labels = [f"distill {common.name}{f' shard {shard}' if len(shards) > 1 else ''}" for shard in shards]
    tasks = [Task.of(name, inputs, [n], made, compute.checkpoint) for name, n in zip(labels, shards, strict=True)]
    with locked_tasks(tasks) as missing:
        if missing:
            with device.lease_device(compute.device) as where:
                jobs = [
                    Job(task, shard, share, settings, str(where))
                    for task, shard in zip(tasks, shards, strict=True)
                    if task in missing
                ]
                for _ in map_tasks(distil, jobs, compute.workers, compute.threads):
                    pass
        with atomic_output(OUT) as out:
            _write(out, tasks, common, settings)
        cost.record("distill", OUT, tasks)


def _of_one_shard(inputs, share):
    """The inputs that change one shard: not how many there are, nor which is the first."""
    extent = [f"params:method.{share.name}.{key}" for key in ("shards", "first")]
    return {key: value for key, value in inputs.items() if key not in extent} | {"params:method.ipc": share.ipc}


def distil(job):
    """Run the method of ``job`` to its end, resuming where an earlier run stopped."""
    method, guidance = _method(job)
    updates, curve = 0, []
    if state := job.task.start():
        method.load_state_dict(state["method"])
        updates, curve = state["updates"], state["curve"]
    every = max(1, method.updates // _POINTS)

    with Progress(job.task.label, method.total, start=method.at, live=job.task.folder / "live.csv") as bar:
        while method.at < method.total:
            tick = method.advance()
            values = tick.values
            if tick.ready:
                if guidance:
                    values = {**values, "guidance": guidance.add_gradient(method, updates)}
                method.apply()
                updates += 1
                if updates % every == 0 or method.at == method.total:
                    values = {name: float(value) for name, value in values.items()}
                    curve.append({"iteration": updates, **values})
            bar.advance(**values)
            if job.task.due():
                job.task.checkpoint({"method": method.state_dict(), "updates": updates, "curve": curve})

    made = method.result()
    if not made.images.isfinite().all():
        raise BadInput(f"{job.common.name} ended with images that are not finite: a smaller learning rate is wanted.")
    cost = {"updates": updates, **method.cost()}
    if guidance:
        cost = guidance.added_to(cost, method, updates)
    with job.task.result() as folder:
        made.save(folder / FILE)
        files.save_json(folder / "record.json", {"curve": curve, "cost": cost})


def _method(job):
    """The method and, where alpha is above zero, its guidance."""
    common = job.common
    data, pool, guides = _given(Path.cwd(), common.teacher, common.guidance.teacher, job.device)
    check(common.network, *data.shape[:2])
    problem = Problem(data, common, job.device, pool, job.shard, guides)
    method = methods.load(common.name).METHOD(problem, job.settings)
    return method, Guidance(problem, guides) if common.guided else None


@lru_cache(maxsize=1)
def _given(root, teacher, guides, device):
    """The dataset and both pools, loaded once for all the shards that a process makes."""
    data = RealSet.load(root / "data/real/dataset").to(device)
    return data, Pool(root / f"models/teachers/{teacher}", device), Pool(root / f"models/teachers/{guides}", device)


def _write(out, tasks, common, settings):
    made = merged([DistilledSet.load(task.finished() / FILE) for task in tasks])
    records = [files.load_json(task.finished() / "record.json") for task in tasks]
    made.save(out / FILE)
    curve = _mean([record["curve"] for record in records])
    curve.to_csv(out / "curve.csv", index=False, float_format="%.6g")
    info = {
        **{key: made.info[key] for key in ("method", "ipc", "seed", "dataset", "classes")},
        "alpha": common.alpha,
        "settings": {**common.model_dump(), common.name: settings.model_dump()},
        "cost": {key: sum(record["cost"][key] for record in records) for key in records[0]["cost"]},
        "bytes": made.bytes,
    }
    files.save_json(out / "info.json", info)
    last = curve.drop(columns="iteration").tail(1).to_dict("records")
    files.save_json(out / "metrics.json", {k: float(f"{v:.6g}") for values in last for k, v in values.items()})


def merged(shards):
    """One DistilledSet of several, class by class, the shards in order within a class; a single one stays as it is."""
    first, *rest = shards
    if not rest:
        return first
    labels = torch.cat([shard.labels for shard in shards])
    order = labels.argsort(stable=True)
    targets = None if first.targets is None else torch.cat([shard.targets for shard in shards])[order]
    images = torch.cat([shard.images for shard in shards])[order]
    info = {**first.info, "ipc": sum(shard.info["ipc"] for shard in shards)}
    return replace(first, images=images, labels=labels[order], targets=targets, info=info)


def _mean(curves):
    """The mean of the shards' curves, update by update."""
    curves = [pd.DataFrame(curve, columns=list(curve[0]) if curve else ["iteration", "loss"]) for curve in curves]
    return pd.concat(curves).groupby("iteration", as_index=False).mean()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
