"""Make a pool of teachers.

Reads   params.yaml: teacher.<POOL>, what it leaves out of pool and objectives.<objective>, compute.threads;
        data/real/<source>
Writes  models/teachers/<POOL>: teachers.safetensors (all weights), pool.json, curves.csv, metrics.json; norms.csv, the
        statistics of batch norms, where there are any
"""

import argparse
import sys

import pandas as pd

from distillation import params as parameters
from distillation.data.real import RealSet
from distillation.data.spaces import PREFIX
from distillation.networks.names import check
from distillation.runtime import cost, device, files, process, tensors
from distillation.runtime.errors import guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs
from distillation.runtime.tasks import map_tasks
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers import objectives
from distillation.teachers.norms import statistics
from distillation.teachers.objective import RESULT, Job
from distillation.teachers.pool import FILE, RECORD
from distillation.teachers.settings import pool_settings


def run(pool):
    process.begin()
    params = parameters.load()
    settings = pool_settings(params, pool)
    compute = params.section("compute", parameters.Compute)
    folder = f"data/real/{settings.source}"
    data = RealSet.load(folder)
    objective = objectives.load(settings.objective)
    for word in objective.words(settings):
        check(word, *data.shape[:2])

    inputs = _of_one_teacher(stage_inputs(f"teacher@{pool}"), settings.objective)
    wanted = [(word, index) for word in settings.networks for index in range(settings.count)]
    made = device.made_on(compute.device)
    tasks = [Task.of(f"teacher {pool} {w} {i}", inputs, [w, i], made, compute.checkpoint) for w, i in wanted]
    with locked_tasks(tasks) as missing:
        if missing:
            with device.lease_device(compute.device) as where:
                jobs = [
                    Job(task, folder, settings, word, index, str(where))
                    for task, (word, index) in zip(tasks, wanted, strict=True)
                    if task in missing
                ]
                for _ in map_tasks(objective.make, jobs, compute.workers, compute.threads):
                    pass
        with atomic_output(f"models/teachers/{pool}") as out:
            _write(out, pool, settings, data, tasks)
        cost.record(f"teacher@{pool}", f"models/teachers/{pool}", tasks)


def _of_one_teacher(inputs, objective):
    """The inputs that change one teacher: not how many there are, nor which others, nor what another objective uses."""
    others = {"count", "networks", *objectives.names()} - {objective}

    def matters(key):
        section, *path = key.removeprefix("params:").split(".")
        own = {"pool": path[:1], "teacher": path[1:2]}.get(section, [])
        return others.isdisjoint(own)

    return {key: value for key, value in inputs.items() if matters(key)}


def _write(out, pool, settings, data, tasks):
    """All teachers in one file; what images they take and what their outputs are is the same for every one of them."""
    weights, records = {}, []
    for task in tasks:
        content, record = tensors.load(task.finished() / RESULT)
        for name, value in content.items():
            weights[name if name.startswith(PREFIX) else f"{record['network']}/{record['index']}/{name}"] = value
        shared = {key: record.pop(key) for key in ("classes", "shape", "space")}
        records.append(record)
    columns = ["epoch", "loss", "train_accuracy"]
    curves = [
        pd.DataFrame(record.pop("curve"), columns=columns).assign(network=record["network"], index=record["index"])
        for record in records
    ]
    info = {
        "pool": pool,
        "dataset": data.info["name"],
        **shared,
        "shape": [*shared["shape"], len(shared["classes"] or [])],
        "objective": settings.objective,
        "precision": settings.precision,
        "networks": records,
        "settings": settings.training.model_dump(by_alias=True),
    }
    tensors.save(out / FILE, weights, info)
    files.save_json(out / RECORD, info)
    curves = pd.concat(curves)[["network", "index", *columns]]
    curves.to_csv(out / "curves.csv", index=False, float_format="%.6g")
    if len(seen := statistics(weights)):
        seen.to_csv(out / "norms.csv", index=False, float_format="%.6g")
    accuracies = [kept["accuracy"] for record in records for kept in record["kept"]]
    files.save_json(out / "metrics.json", _means(accuracy=accuracies, knn=[record.get("knn") for record in records]))


def _means(**found):
    """The mean of each list of percents, but of those with a None."""
    return {name: round(sum(each) / len(each), 2) for name, each in found.items() if None not in each}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", help="name of the pool: a key of the section teacher")
    sys.exit(guarded(run, parser.parse_args().pool))
