"""Distils the dataset with one method, in shards if the method has any.

    python -m stages.distill

Reads   params.yaml: the common keys of method, method.<name>, compute.threads; data/real/dataset;
        models/teachers/<method.teacher> and <method.guidance.teacher>; the file of method.imported
Writes  data/distilled: distilled.safetensors, info.json, curve.csv, metrics.json
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distillation import methods, paths
from distillation import params as parameters
from distillation.methods import work
from distillation.methods.base import Common, check_guided, of_a_shard
from distillation.runtime import process, stage
from distillation.runtime.errors import guarded
from distillation.teachers.pool import FILE

if TYPE_CHECKING:
    from distillation.runtime.work import Task


def run() -> None:
    """Distils every shard, joins them and writes the out of the stage.

    Raises:
        BadInput: guidance is set for a method without an image gradient, or the shards do not divide ``method.ipc``.
        Diverged: a loss or the images are not finite.
    """
    process.begin()
    params = parameters.load()
    common = params.fields("method", Common)
    module = methods.load(common.name)
    settings = params.section(f"method.{common.name}", module.Settings)
    compute = params.section("compute", parameters.Compute)
    method = module.METHOD
    check_guided(method, common)

    # a shard is a task of its own: shards run beside each other, and a finished one is not computed again
    shards, shard_common = of_a_shard(method, common, settings)
    jobs = {
        f"distill {common.name}{f' shard {shard}' if len(shards) > 1 else ''}": work.Job(
            data=paths.DATASET,
            # a pool that the method does not read is no part of the job, so that another pool does not change its key
            teachers=paths.POOLS / common.teacher / FILE if method.reads_teachers(settings) else None,
            guides=paths.POOLS / common.guidance.teacher / FILE if method.reads_guides(common, settings) else None,
            read=method.files(settings),
            shard=shard,
            common=shard_common,
            settings=method.of_one_shard(settings),
        )
        for shard in shards
    }

    def write(out: Path, tasks: "list[Task]") -> None:
        work.write(out, tasks, common, settings)

    # the method is loaded by name, which no import shows: its module is named, so that its code is part of the key
    stage.produce("distill", paths.DISTILLED, write, work.distill, jobs, compute, (module.__name__,))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
