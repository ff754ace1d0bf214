"""Trains fresh networks on the relabelled set and tests them on real images, by one protocol.

    python -m stages.evaluate standard
    python -m stages.evaluate standard --only ConvNetD2W64NN/0

Reads   params.yaml: evaluate.networks, seeds, test_every, precision, compile, save_models and evaluate.<PROTOCOL>,
        compute.threads, group; data/relabeled; data/real/dataset
Writes  reports/evaluation/<PROTOCOL>: rows.csv, curves.csv, classes.csv (accuracy by class), info.json, metrics.json;
        students.safetensors if evaluate.save_models is true
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distillation import params as parameters
from distillation import paths
from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.evaluation import cells, classify, only
from distillation.evaluation.lessons import LESSONS
from distillation.evaluation.relabelled import relabelled
from distillation.evaluation.settings import EvaluateCommon, HardSettings, Saving, training_settings
from distillation.runtime import process, stage
from distillation.runtime.errors import guarded

if TYPE_CHECKING:
    from distillation.runtime.work import Task


def run(protocol: str, one: str | None) -> None:
    """Trains the students of every set, network and seed under ``protocol`` and writes the out of the stage.

    Args:
        protocol: ``standard`` or ``common``.
        one: NETWORK/SEED to train alone, in the foreground and without writing the out; None for all.

    Raises:
        BadInput: the protocol cannot train on labels of this kind, or ``one`` names no student.
    """
    process.begin()
    params = parameters.load()
    common = params.fields("evaluate", EvaluateCommon)
    saving = params.fields("evaluate", Saving)
    compute = params.section("compute", parameters.Compute)
    data = RealSet.load(paths.DATASET)
    distilled = DistilledSet.load(paths.LABELLED["distilled"])  # for its record: each student loads its set by its job
    settings, kind = training_settings(params, protocol, distilled.kind)
    if isinstance(settings, HardSettings):
        settings = settings.of_set(distilled.info)

    training = cells.protocol(common, kind, settings, LESSONS.get(kind))
    rows = relabelled(common.networks, common.seeds, kind)
    name, out = f"evaluate@{protocol}", paths.REPORTS / "evaluation" / protocol
    jobs = cells.jobs(name, rows, training, paths.DATASET, data, compute)
    if one:
        return only.train(one, jobs, compute)

    def write(folder: Path, tasks: "list[Task]") -> None:
        info = {"protocol": protocol, "labels": kind, "checkpoint": "last", "test_every": common.test_every}
        cells.write(folder, rows, tasks, data.classes, {**info, "settings": settings.model_dump()})
        if saving.save_models:
            cells.save_models(folder, rows, tasks)

    stage.produce(name, out, write, classify.train, jobs, compute, together=classify.TOGETHER)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", help="one of evaluate.protocols: standard, common")
    parser.add_argument("--only", metavar="NETWORK/SEED", help="train these students alone, afresh, in the foreground")
    args = parser.parse_args()
    sys.exit(guarded(run, args.protocol, args.only))
