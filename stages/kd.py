"""Pre-trains networks on a set, then distils knowledge of another dataset into them on the same images, and tests them there.

    python -m stages.kd distilled cifar10 kd     # with evaluate.kd.teachers.cifar10: kd in params.yaml

The networks learn the predictions that a teacher of the target dataset makes on the images of the set. No image of the
target dataset is trained on. The control learns the predictions on noise.

Reads   params.yaml: evaluate.networks, seeds, precision, compile, evaluate.pretrain, evaluate.kd, compute.threads;
        data/real/dataset; data/real/targets/TARGET; models/teachers/POOL; of SETS distilled: data/relabeled; of SETS
        baseline: method.ipc
Writes  reports/kd/SETS/TARGET: rows.csv, info.json, metrics.json

SETS distilled are the relabelled set and its control; SETS baseline are random and k-means images, and Gaussian noise.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from distillation import params as parameters
from distillation import paths
from distillation.data.real import RealSet
from distillation.evaluation import carried, kd
from distillation.evaluation.settings import Students
from distillation.evaluation.transfer_settings import Distilling, Pretrain
from distillation.runtime import process
from distillation.runtime.errors import guarded
from distillation.teachers.pool import FILE, Pool

if TYPE_CHECKING:
    from distillation.runtime.work import Task

STAGES = {"distilled": "kd", "baseline": "kd_baseline"}


def run(sets: str, target: str, teachers: str) -> None:
    """Trains and tests the students of ``sets`` on a target dataset and writes the out of the stage.

    Args:
        sets: ``distilled`` or ``baseline``.
        target: name of the target dataset.
        teachers: name of the pool that was trained on the target dataset.

    Raises:
        BadInput: the pool has other classes or inputs than the target, or the target's images have another shape than
            the dataset's.
    """
    process.begin()
    params = parameters.load()
    students = params.fields("evaluate", Students)
    pretraining = params.section("evaluate.pretrain", Pretrain)
    settings = params.fields("evaluate.kd", Distilling)
    compute = params.section("compute", parameters.Compute)
    folder, pool = paths.REAL / "targets" / target, Pool(paths.POOLS / teachers)
    data, target_data = RealSet.load(paths.DATASET), RealSet.load(folder)
    kd.require_same_task(pool, target_data, f"evaluate.kd.teachers.{target} is {teachers!r}")

    if sets == "distilled":
        rows = carried.distilled(students, ["kd"])
    else:
        ipc = params.fields("method", parameters.Images).ipc
        rows = carried.noise(students, ipc * len(data.classes)) + carried.real(data, ipc, students, ["kd"])

    def job_of(cell: carried.Cell, start: "Task | None") -> kd.Job:
        """Job of a cell; ``start`` is the task that pre-trains its network, None for fresh weights."""
        return kd.Job(
            data=folder,
            teachers=pool.folder / FILE,
            images_from=paths.DATASET,
            source=cell.source,  # pyright: ignore[reportArgumentType] every cell of kd has images
            kind=cell.kind,
            settings=settings,
            **carried.of_network(cell, start, students),
        )

    info = {"settings": settings.model_dump(), "teacher": kd.about(pool), **target_data.skipped}
    carried.produce(
        f"{STAGES[sets]}@{target}",
        paths.REPORTS / "kd" / sets / target,
        lambda out, tasks: carried.write(out, rows, tasks, target, info),
        kd.distill_knowledge,
        rows,
        job_of,
        students=students,
        settings=pretraining,
        compute=compute,
        shapes=(data.shape, target_data.shape),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", choices=list(STAGES), help="the sets to pre-train on")
    parser.add_argument("target", help="a key of the section evaluate.kd.teachers")
    parser.add_argument("teachers", metavar="pool", help="the pool of its teachers: the value at that key")
    args = parser.parse_args()
    sys.exit(guarded(run, args.sets, args.target, args.teachers))
