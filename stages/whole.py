"""Train the evaluation's networks on the whole real dataset: the ceiling of every table.

Reads   params.yaml: evaluate.networks, seeds, test_every, precision, compile and evaluate.whole, compute.threads;
        data/real/dataset
Writes  reports/whole: rows.csv, curves.csv, info.json, metrics.json
"""

import argparse
import sys
from pathlib import Path

from distillation import params as parameters
from distillation.data.real import RealSet
from distillation.evaluation import cells
from distillation.evaluation import classify as students
from distillation.evaluation.settings import Common, EvaluateCommon
from distillation.runtime import cost, process
from distillation.runtime.errors import guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs

DATA, OUT = Path("data/real/dataset"), "reports/whole"


def run():
    process.begin()
    params = parameters.load()
    common = params.fields("evaluate", EvaluateCommon)
    settings = params.section("evaluate.whole", Common)
    compute = params.section("compute", parameters.Compute)
    data = RealSet.load(DATA)

    inputs = cells.inputs_of_one(stage_inputs("whole"), "whole", "hard")
    how = students.Protocol("hard", settings, common.precision, common.compile, common.test_every)
    wanted = [
        cells.Cell((("set", "whole"),), ("whole",), word, seed)
        for word in common.networks
        for seed in range(common.seeds)
    ]
    with cells.trained("whole", wanted, inputs, how, DATA, data, compute) as tasks:
        with atomic_output(OUT) as folder:
            cells.write(
                folder,
                wanted,
                tasks,
                {"labels": "hard", "images": {"whole": len(data.train)}, "settings": settings.model_dump()},
            )
        cost.record("whole", OUT, tasks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
