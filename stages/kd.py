"""Pre-train networks on a set, then teach them on the same images what a teacher of another dataset says; test them there.

No image of that dataset is trained on. The control learns the same from noise.

Reads   params.yaml: evaluate.networks, seeds, precision, compile, evaluate.pretrain, evaluate.kd, compute.threads;
        data/real/dataset; data/real/targets/TARGET; models/teachers/POOL; of SETS distilled: data/relabeled; of SETS
        baseline: method.ipc
Writes  reports/kd/SETS/TARGET: rows.csv, info.json, metrics.json

SETS distilled are the relabelled set and its control; SETS baseline are random and k-means images, and Gaussian noise.
"""

import argparse
import sys
from pathlib import Path

from distillation import params as parameters
from distillation.data.real import RealSet
from distillation.evaluation import carried as cells
from distillation.evaluation import kd as distilling
from distillation.evaluation.settings import Images, Students
from distillation.evaluation.transfer_settings import Distilling, Pretrain
from distillation.runtime import cost, process
from distillation.runtime.errors import BadInput, guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs
from distillation.teachers.pool import Pool

STAGES = {"distilled": "kd", "baseline": "kd_baseline"}


def run(sets, target, teachers):
    process.begin()
    params = parameters.load()
    common = params.fields("evaluate", Students)
    how = params.section("evaluate.pretrain", Pretrain), common.precision, common.compile
    settings = params.fields("evaluate.kd", Distilling)
    compute = params.section("compute", parameters.Compute)
    folder, pool = Path("data/real/targets") / target, Path("models/teachers") / teachers
    data, theirs, taught = RealSet.load(cells.DATA), RealSet.load(folder), Pool(pool)
    _check(taught, theirs, f"evaluate.kd.teachers.{target} is {teachers!r}")

    asked = common.networks, common.seeds, ["kd"]
    if sets == "distilled":
        wanted = cells.distilled(*asked)
    else:
        ipc = params.fields("method", Images).ipc
        noise = ("noise", ipc * len(data.classes))
        wanted = [
            cells.Cell("gaussian", noise, None, word, seed, "kd") for word in asked[0] for seed in range(asked[1])
        ]
        wanted += cells.real(data, ipc, *asked)

    def job_of(cell, task, weights, where):
        images, who = (cells.DATA, cell.source, cell.kind), (cell.word, cell.seed)
        return distilling.Job(
            task, folder, pool, *images, weights, settings, *who, common.precision, common.compile, where
        )

    stage, out = f"{STAGES[sets]}@{target}", f"reports/kd/{sets}/{target}"
    shapes, work = (data.shape, theirs.shape), (distilling.distil, job_of)
    with cells.carried(stage, wanted, stage_inputs(stage), how, compute, shapes, *work) as tasks:
        with atomic_output(out) as partial:
            first = taught.members[0]
            teacher = {"pool": teachers, "network": first.word, "accuracy": first.accuracy}
            cells.write(partial, wanted, tasks, target, {"settings": settings.model_dump(), "teacher": teacher})
        cost.record(stage, out, tasks)


def _check(taught, theirs, which):
    """A pool must know the target: the student is given what the teacher is given."""
    if taught.classes != theirs.classes:
        raise BadInput(f"{which}, whose classes are not those of the target.")
    if taught.shape[:2] != theirs.shape[:2]:
        (ours, size), (channels, wanted) = taught.shape[:2], theirs.shape[:2]
        raise BadInput(
            f"{which}, which takes {ours} channels of {size} px, but the images of the target are {channels} of {wanted} px."
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", choices=list(STAGES))
    parser.add_argument("target", help="a key of the section evaluate.kd.teachers")
    parser.add_argument("teachers", metavar="pool", help="the pool that is trained on it: the value at that key")
    given = parser.parse_args()
    sys.exit(guarded(run, given.sets, given.target, given.teachers))
