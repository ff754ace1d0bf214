"""Gives the distilled images their final labels.

    python -m stages.relabel

Reads   params.yaml: relabel.kind, relabel.<kind>, relabel.teacher, relabel.control, relabel.pixels, compute.threads;
        data/distilled; data/real/dataset; models/teachers/<relabel.teacher>
Writes  data/relabeled: distilled.safetensors, info.json, metrics.json; control.safetensors if a teacher labels;
        teachers.safetensors (kind online) or distilled.labels.safetensors and control.labels.safetensors (fkd)
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from distillation import params as parameters
from distillation import paths
from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet
from distillation.labels import kinds
from distillation.labels.relabelling import relabelled
from distillation.labels.settings import RelabelCommon
from distillation.runtime import device, process, stage
from distillation.runtime.errors import guarded


def run() -> None:
    """Labels the distilled set and its control by ``relabel.kind`` and writes the out of the stage.

    Only a kind with ``jobs`` (fkd) has work that is stored and resumed. Labels of other kinds are computed while the
    out is written.

    Raises:
        BadInput: the pool has other classes or inputs than the set, or there are too few real images for the control.
    """
    process.begin()
    params = parameters.load()
    common = params.fields("relabel", RelabelCommon)
    kind = kinds.load(common.kind)
    settings = params.section(f"relabel.{common.kind}", kind.Settings)
    compute = params.section("compute", parameters.Compute)

    jobs = {}
    if hasattr(kind, "jobs"):
        flip = RealSet.load(paths.DATASET).info["flip"]
        jobs = kind.jobs(settings, paths.POOLS / common.teacher, flip, common.control, common.pixels)

    def write(folder: Path, tasks: list) -> None:
        device.prepare(compute.threads)
        with device.lease_device(compute.device, compute.locks) as where:
            distilled = DistilledSet.load(paths.DISTILLED / paths.SET_FILE, where)
            stored = dict(zip(jobs, tasks, strict=True))
            relabelled(folder, distilled, common, kind, settings, stored)

    store: Any = getattr(kind, "store", None)  # kinds that store nothing have no jobs either
    stage.produce("relabel", paths.RELABELED, write, store, jobs, compute)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
