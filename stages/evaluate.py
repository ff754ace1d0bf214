"""Train fresh networks on the relabelled set and test them on real images, by one protocol.

Reads   params.yaml: evaluate.networks, seeds, test_every, precision, compile, save_models and evaluate.<PROTOCOL>,
        compute.threads; data/relabeled; data/real/dataset
Writes  reports/evaluation/<PROTOCOL>: rows.csv, curves.csv, info.json, metrics.json; students.safetensors if asked for
"""

import argparse
import sys
from pathlib import Path

from distillation import params as parameters
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.real import RealSet
from distillation.evaluation import cells
from distillation.evaluation import classify as students
from distillation.evaluation.settings import EvaluateCommon, Saving, training_settings
from distillation.labels.lessons import LESSONS
from distillation.runtime import cost, process, tensors
from distillation.runtime.errors import guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs

DATA, LABELLED = Path("data/real/dataset"), Path("data/relabeled")
SETS = {"distilled": LABELLED / FILE, "control": LABELLED / "control.safetensors"}


def run(protocol):
    process.begin()
    params = parameters.load()
    common = params.fields("evaluate", EvaluateCommon)
    saving = params.fields("evaluate", Saving)
    compute = params.section("compute", parameters.Compute)
    made = DistilledSet.load(SETS["distilled"])
    settings, kind = training_settings(params, protocol, made.kind)
    if (protocol, kind) == ("standard", "hard"):
        settings = settings.of_set(made.info)

    wanted = [
        cells.Cell((("set", name),), ("file", str(path)), word, seed)
        for name, path in SETS.items()
        if path.is_file()
        for word in common.networks
        for seed in range(common.seeds)
    ]
    stage, out = f"evaluate@{protocol}", f"reports/evaluation/{protocol}"
    inputs = cells.inputs_of_one(stage_inputs(stage), protocol, kind)
    lesson = LESSONS.get(kind)
    how = students.Protocol(kind, settings, common.precision, common.compile, common.test_every, lesson)
    with cells.trained(stage, wanted, inputs, how, DATA, RealSet.load(DATA), compute) as tasks:
        with atomic_output(out) as folder:
            info = {"protocol": protocol, "labels": kind, "checkpoint": "last", "test_every": common.test_every}
            info["settings"] = settings.model_dump()
            cells.write(folder, wanted, tasks, info)
            if saving.save_models:
                _save_models(folder, wanted, tasks)
        cost.record(stage, out, tasks)


def _save_models(folder, wanted, tasks):
    """All students in one file, their weights named ``set/network/seed/parameter``."""
    weights = {}
    for cell, task in zip(wanted, tasks, strict=True):
        content, _ = tensors.load(task.finished() / students.WEIGHTS)
        name = "/".join([dict(cell.named)["set"], cell.word, str(cell.seed)])
        weights |= {f"{name}/{key}": value for key, value in content.items()}
    tensors.save(folder / "students.safetensors", weights, {"networks": sorted({cell.word for cell in wanted})})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", help="one of evaluate.protocols: standard, common")
    sys.exit(guarded(run, parser.parse_args().protocol))
