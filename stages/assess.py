"""Assess the relabelled set under a pool of models trained on the real data; nothing is trained.

Reads   params.yaml: evaluate.assess.fresh, real, chunk, compute.threads; data/relabeled; data/real/dataset;
        models/teachers/<POOL>
Writes  reports/assessment/<POOL>: rows.csv, info.json, metrics.json
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from distillation import params as parameters
from distillation.data.real import RealSet
from distillation.evaluation.assess import models
from distillation.evaluation.assess.pixels import statistics
from distillation.evaluation.assess.sets import sets_of
from distillation.evaluation.assess.settings import Measuring
from distillation.runtime import cost, device, files, process
from distillation.runtime.errors import guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs
from distillation.runtime.tasks import map_tasks
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers.pool import Pool

DATA, LABELLED = Path("data/real/dataset"), Path("data/relabeled")


def run(pool):
    process.begin()
    params = parameters.load()
    settings = params.fields("evaluate.assess", Measuring)
    compute = params.section("compute", parameters.Compute)
    folder, data = Path("models/teachers") / pool, RealSet.load(DATA)
    trained = Pool(folder)
    models.suits(trained, data)
    device.prepare(compute.threads)
    sets = sets_of(LABELLED, data)

    stage, out = f"assess@{pool}", f"reports/assessment/{pool}"
    inputs = {key: value for key, value in stage_inputs(stage).items() if key != "params:evaluate.assess.fresh"}
    made, wanted = device.made_on(compute.device), models.models_of(trained, settings.fresh)
    tasks = [Task.of(f"assess {pool} {model}", inputs, str(model), made, compute.checkpoint) for model in wanted]
    with locked_tasks(tasks) as missing:
        if missing:
            with device.lease_device(compute.device) as where:
                jobs = [
                    models.Job(task, DATA, LABELLED, folder, model, settings, str(where))
                    for task, model in zip(tasks, wanted, strict=True)
                    if task in missing
                ]
                for _ in map_tasks(models.measure, jobs, compute.workers, compute.threads):
                    pass
        with atomic_output(out) as partial:
            _write(partial, pool, settings, sets, wanted, tasks)
        cost.record(stage, out, tasks)


def _write(out, pool, settings, sets, wanted, tasks):
    """One row for each set, assessment and model; those of the images alone name no model."""
    rows = [
        {"set": name, "assessment": key, "model": "", "value": value}
        for name, made in sets.items()
        for key, value in statistics(made.space.decode(made.images), made.labels).items()
    ]
    for model, task in zip(wanted, tasks, strict=True):
        rows += [{**row, "model": str(model)} for row in files.load_json(task.finished() / models.RECORD)]
    table = pd.DataFrame(rows)[["set", "assessment", "model", "value"]]
    table.to_csv(out / "rows.csv", index=False, float_format="%.6g")
    files.save_json(out / "info.json", {"pool": pool, "settings": settings.model_dump()})
    ours = table[table["set"] == "distilled"].groupby("assessment")["value"].mean().dropna()
    files.save_json(out / "metrics.json", {name: float(f"{value:.6g}") for name, value in ours.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", help="one of evaluate.assess.teachers")
    sys.exit(guarded(run, parser.parse_args().pool))
