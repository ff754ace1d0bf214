"""Pre-train networks on a set, carry them over to a dataset of targets, and test them there.

Reads   params.yaml: evaluate.networks, seeds, precision, compile, evaluate.pretrain, evaluate.transfer, compute.threads;
        data/real/dataset; data/real/targets/TARGET; of SETS distilled: data/relabeled; of SETS baseline: method.ipc
Writes  reports/transfer/SETS/TARGET: rows.csv, info.json, metrics.json

SETS distilled are the relabelled set and its control; SETS baseline are random and k-means images, and no images: from scratch.
"""

import argparse
import sys
from pathlib import Path

from distillation import params as parameters
from distillation.data.real import RealSet
from distillation.evaluation import carried as cells
from distillation.evaluation import transfer as protocols
from distillation.evaluation.settings import Images, Students
from distillation.evaluation.transfer_settings import Pretrain, Transfer
from distillation.runtime import cost, process
from distillation.runtime.errors import guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs

STAGES = {"distilled": "transfer", "baseline": "transfer_baseline"}


def run(sets, target):
    process.begin()
    params = parameters.load()
    common = params.fields("evaluate", Students)
    how = params.section("evaluate.pretrain", Pretrain), common.precision, common.compile
    settings = params.section("evaluate.transfer", Transfer)
    compute = params.section("compute", parameters.Compute)
    folder = Path("data/real/targets") / target
    data, theirs = RealSet.load(cells.DATA), RealSet.load(folder)

    asked = common.networks, common.seeds, settings.protocols
    if sets == "distilled":
        wanted = cells.distilled(*asked)
    else:
        ipc = params.fields("method", Images).ipc
        wanted = [cells.Cell("scratch", (), None, w, s, p) for p in asked[2] for w in asked[0] for s in range(asked[1])]
        wanted += cells.real(data, ipc, *asked)

    def job_of(cell, task, weights, where):
        by = cell.protocol, getattr(settings, cell.protocol)
        return protocols.Job(task, folder, weights, *by, cell.word, cell.seed, common.precision, common.compile, where)

    stage, out = f"{STAGES[sets]}@{target}", f"reports/transfer/{sets}/{target}"
    shapes, work = (data.shape, theirs.shape), (protocols.transfer, job_of)
    with cells.carried(stage, wanted, stage_inputs(stage), how, compute, shapes, *work) as tasks:
        with atomic_output(out) as partial:
            cells.write(partial, wanted, tasks, target, {"settings": settings.model_dump()})
        cost.record(stage, out, tasks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", choices=list(STAGES))
    parser.add_argument("target", help="a key of the section targets")
    given = parser.parse_args()
    sys.exit(guarded(run, given.sets, given.target))
