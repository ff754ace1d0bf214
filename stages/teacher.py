"""Trains or imports a pool of teachers.

    python -m stages.teacher main

Reads   params.yaml: teacher.<POOL>, and from pool and objectives.<objective> what it leaves out; compute.threads, group;
        data/real/<source>
Writes  models/teachers/<POOL>: teachers.safetensors (all weights), pool.json, curves.csv, metrics.json; norms.csv, the
        statistics of batch norms, if there are any
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distillation import params as parameters
from distillation import paths
from distillation.data.real import RealSet
from distillation.networks.names import check
from distillation.runtime import process, stage
from distillation.runtime.errors import guarded
from distillation.teachers import objectives, writing
from distillation.teachers.settings import pool_settings

if TYPE_CHECKING:
    from distillation.runtime.work import Task


def run(pool: str) -> None:
    """Makes every teacher of a pool and writes the out of the stage.

    Args:
        pool: a key of the section ``teacher``.

    Raises:
        BadInput: its settings are wrong, or a network does not fit the images of its source.
        Diverged: the loss of a teacher is not finite.
    """
    process.begin()
    params = parameters.load()
    settings = pool_settings(params, pool)
    compute = params.section("compute", parameters.Compute)
    folder = paths.REAL / settings.source
    data = RealSet.load(folder)
    objective = objectives.load(settings.objective)
    for network in objective.words(settings):
        check(network, *data.shape[:2])

    jobs = {f"teacher {pool} {job.network} {job.index}": job for job in objective.jobs(settings, folder, data, compute)}

    def write(out: Path, tasks: "list[Task]") -> None:
        writing.write(out, pool, settings, data, tasks)

    modules = (f"{objectives.__name__}.{settings.objective}",)  # loaded by name; its code is part of the keys
    stage.produce(
        f"teacher@{pool}",
        paths.POOLS / pool,
        write,
        objective.make,
        jobs,
        compute,
        modules,
        together=objective.together,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", help="name of the pool: a key of the section teacher")
    sys.exit(guarded(run, parser.parse_args().pool))
