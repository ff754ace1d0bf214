"""Pre-trains networks on a set, transfers them to a target dataset, and tests them there.

    python -m stages.transfer distilled svhn     # with targets.svhn in params.yaml

Reads   params.yaml: evaluate.networks, seeds, precision, compile, evaluate.pretrain, evaluate.transfer, compute.threads;
        data/real/dataset; data/real/targets/TARGET; of SETS distilled: data/relabeled; of SETS baseline: method.ipc
Writes  reports/transfer/SETS/TARGET: rows.csv, info.json, metrics.json

SETS distilled are the relabelled set and its control; SETS baseline are random and k-means images, and no images: from scratch.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from distillation import params as parameters
from distillation import paths
from distillation.data.real import RealSet
from distillation.evaluation import carried, transfer
from distillation.evaluation.settings import Students
from distillation.evaluation.transfer_settings import Pretrain, Transfer
from distillation.runtime import process
from distillation.runtime.errors import guarded

if TYPE_CHECKING:
    from distillation.runtime.work import Task

STAGES = {"distilled": "transfer", "baseline": "transfer_baseline"}


def run(sets: str, target: str) -> None:
    """Trains and tests the students of ``sets`` on a target dataset and writes the out of the stage.

    Args:
        sets: ``distilled`` or ``baseline``.
        target: name of the target dataset.

    Raises:
        BadInput: the target's images have another shape than the dataset's.
    """
    process.begin()
    params = parameters.load()
    students = params.fields("evaluate", Students)
    pretraining = params.section("evaluate.pretrain", Pretrain)
    settings = params.section("evaluate.transfer", Transfer)
    compute = params.section("compute", parameters.Compute)
    folder = paths.REAL / "targets" / target
    data, target_data = RealSet.load(paths.DATASET), RealSet.load(folder)

    if sets == "distilled":
        rows = carried.distilled(students, settings.protocols)
    else:
        rows = carried.from_scratch(students, settings.protocols)
        rows += carried.real(data, params.fields("method", parameters.Images).ipc, students, settings.protocols)

    def job_of(cell: carried.Cell, start: "Task | None") -> transfer.Job:
        """Job of a cell; ``start`` is the task that pre-trains its network, None for fresh weights."""
        return transfer.Job(
            data=folder,
            protocol=cell.protocol,
            settings=getattr(settings, cell.protocol),
            **carried.of_network(cell, start, students),
        )

    info = {"settings": settings.model_dump(), **target_data.skipped}
    carried.produce(
        f"{STAGES[sets]}@{target}",
        paths.REPORTS / "transfer" / sets / target,
        lambda out, tasks: carried.write(out, rows, tasks, target, info),
        transfer.transfer,
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
    parser.add_argument("target", help="a key of the section targets")
    args = parser.parse_args()
    sys.exit(guarded(run, args.sets, args.target))
