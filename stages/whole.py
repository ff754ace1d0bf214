"""Train the evaluation's networks on the whole real dataset: the ceiling of every table.

Reads   params.yaml: evaluate.networks, seeds, test_every, precision, compile and evaluate.whole, compute.threads;
        data/real/dataset
Writes  reports/whole: rows.csv, curves.csv, info.json, metrics.json
"""

import argparse
import sys
from pathlib import Path

from stages import params as parameters
from stages.containers.real import RealSet
from stages.evaluation import cells, students
from stages.evaluation.settings import Common, EvaluateCommon
from stages.runtime import cost, process
from stages.runtime.errors import guarded
from stages.runtime.inputs import stage_inputs
from stages.runtime.work import writing

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
        with writing(OUT) as folder:
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
