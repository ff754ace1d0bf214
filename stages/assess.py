"""Assesses the relabelled set under a pool of models trained on the real data; trains nothing.

    python -m stages.assess main

Reads   params.yaml: evaluate.assess.fresh, real, chunk, compute.threads; data/relabeled; data/real/dataset;
        models/teachers/<POOL>
Writes  reports/assessment/<POOL>: rows.csv, info.json, metrics.json
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distillation import params as parameters
from distillation import paths
from distillation.data.real import RealSet
from distillation.evaluation.assess import models, writing
from distillation.evaluation.assess.sets import sets_of
from distillation.evaluation.assess.settings import Measuring
from distillation.runtime import device, process, stage
from distillation.runtime.errors import guarded
from distillation.teachers.pool import FILE, Pool

if TYPE_CHECKING:
    from distillation.runtime.work import Task


def run(pool: str) -> None:
    """Measures every set under each model of a pool and writes the out of the stage.

    Args:
        pool: name of the pool, one of ``evaluate.assess.teachers``.

    Raises:
        BadInput: the pool has other classes or inputs than the dataset, or the set has other classes.
    """
    process.begin()
    params = parameters.load()
    settings = params.fields("evaluate.assess", Measuring)
    compute = params.section("compute", parameters.Compute)
    trained, data = Pool(paths.POOLS / pool), RealSet.load(paths.DATASET)
    models.require_compatible(trained, data)
    device.prepare(compute.threads)  # ``write`` computes statistics of pixels in this process
    labelled = {name: path for name, path in paths.LABELLED.items() if path.is_file()}
    sets, judges = sets_of(labelled, data), models.models_of(trained, settings.fresh)

    jobs = {
        f"assess {pool} {judge}": models.Job(
            data=paths.DATASET,
            sets=labelled,
            pool=trained.folder / FILE,
            model=judge,
            real=settings.real,
            chunk=settings.chunk,
        )
        for judge in judges
    }

    def write(out: Path, tasks: "list[Task]") -> None:
        writing.write(out, pool, settings, sets, judges, tasks)

    stage.produce(f"assess@{pool}", paths.REPORTS / "assessment" / pool, write, models.measure, jobs, compute)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", help="one of evaluate.assess.teachers")
    sys.exit(guarded(run, parser.parse_args().pool))
