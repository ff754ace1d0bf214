"""Trains the evaluation's networks on the whole real dataset: the ceiling of every table.

    python -m stages.whole

Reads   params.yaml: evaluate.networks, seeds, test_every, precision, compile and evaluate.whole, compute.threads;
        data/real/dataset
Writes  reports/whole: rows.csv, curves.csv, classes.csv, info.json, metrics.json
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distillation import params as parameters
from distillation import paths
from distillation.data.real import RealSet
from distillation.evaluation import cells, classify
from distillation.evaluation.sets import Whole
from distillation.evaluation.settings import Common, EvaluateCommon
from distillation.runtime import process, stage
from distillation.runtime.errors import guarded

if TYPE_CHECKING:
    from distillation.runtime.work import Task


def run() -> None:
    """Trains a student on all training images for every network and seed, and writes the out of the stage."""
    process.begin()
    params = parameters.load()
    common = params.fields("evaluate", EvaluateCommon)
    settings = params.section("evaluate.whole", Common)
    compute = params.section("compute", parameters.Compute)
    data = RealSet.load(paths.DATASET)

    training = cells.protocol(common, "hard", settings)
    rows = [
        cells.Cell(set="whole", source=Whole(), network=network, seed=seed)
        for network in common.networks
        for seed in range(common.seeds)
    ]

    def write(folder: Path, tasks: "list[Task]") -> None:
        info = {
            "labels": "hard",
            "images": {"whole": len(data.train)},
            "settings": settings.model_dump(),
            **data.skipped,
        }
        cells.write(folder, rows, tasks, data.classes, info)

    jobs = cells.jobs("whole", rows, training, paths.DATASET, data, compute)
    stage.produce("whole", paths.REPORTS / "whole", write, classify.train, jobs, compute, together=classify.TOGETHER)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
