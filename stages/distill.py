"""Distil the dataset with one method.

Reads   params.yaml: the common keys of method, method.<name>, compute.threads; data/real/dataset;
        models/teachers/<method.teacher> and <method.guidance.teacher>; the file of method.imported
Writes  data/distilled: distilled.safetensors, info.json, curve.csv, metrics.json
"""

import argparse
import sys
from dataclasses import dataclass

import pandas as pd

from stages import methods
from stages import params as parameters
from stages.console.progress import Progress
from stages.containers.distilled import FILE, DistilledSet
from stages.containers.real import RealSet
from stages.methods.shared.base import Common, Problem
from stages.methods.shared.guidance import Guidance
from stages.networks.words import check
from stages.runtime import cost, device, process, tensors
from stages.runtime.errors import BadInput, guarded
from stages.runtime.inputs import stage_inputs
from stages.runtime.work import Task, claimed, writing
from stages.teachers.pool import Pool

OUT = "data/distilled"
_POINTS = 500  # a curve longer than a screen is wide says no more


@dataclass(frozen=True)
class Job:
    """One distilled set to make."""

    task: Task
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
    if common.guided and not module.METHOD.guided:
        raise BadInput(
            f"method.alpha is above 0, but {common.name} has no image gradient that guidance could join; set it to 0."
        )

    made = device.made_on(compute.device)
    task = Task.of(f"distill {common.name}", stage_inputs("distill"), [], made, compute.checkpoint)
    with claimed([task]) as missing:
        if missing:
            device.prepare(compute.threads)
            with device.leased(compute.device) as where:
                distil(Job(task, common, settings, str(where)))
        with writing(OUT) as out:
            _write(out, task, common, settings)
        cost.record("distill", OUT, [task])


def distil(job):
    """Run the method of ``job`` to its end, resuming where an earlier run stopped."""
    method, guidance = _method(job)
    updates, curve = 0, []
    if state := job.task.start():
        method.load_state_dict(state["method"])
        updates, curve = state["updates"], state["curve"]
    every = max(1, method.total // _POINTS)

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
        tensors.save_json(folder / "record.json", {"curve": curve, "cost": cost})


def _method(job):
    """The method and, where alpha is above zero, its guidance."""
    data = RealSet.load("data/real/dataset").to(job.device)
    check(job.common.network, *data.shape[:2])
    problem = Problem(data, job.common, job.device, Pool(f"models/teachers/{job.common.teacher}", job.device))
    method = methods.load(job.common.name).METHOD(problem, job.settings)
    if not job.common.guided:
        return method, None
    return method, Guidance(problem, Pool(f"models/teachers/{job.common.guidance.teacher}", job.device))


def _write(out, task, common, settings):
    done = task.finished()
    made = DistilledSet.load(done / FILE)
    record = tensors.load_json(done / "record.json")
    made.save(out / FILE)
    pd.DataFrame(record["curve"], columns=_columns(record["curve"])).to_csv(
        out / "curve.csv", index=False, float_format="%.6g"
    )
    info = {
        **{key: made.info[key] for key in ("method", "ipc", "seed", "dataset", "classes")},
        "alpha": common.alpha,
        "settings": {**common.model_dump(), common.name: settings.model_dump()},
        "cost": record["cost"],
        "bytes": made.bytes,
    }
    tensors.save_json(out / "info.json", info)
    last = record["curve"][-1] if record["curve"] else {}
    tensors.save_json(out / "metrics.json", {k: float(f"{v:.6g}") for k, v in last.items() if k != "iteration"})


def _columns(curve):
    return list(curve[0]) if curve else ["iteration", "loss"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
