"""Trains the same networks by the same protocol on sets that are not distilled: random, k-means and class-mean images.

    python -m stages.baseline common

A dataset whose images stay in files has random images only, since the other two read all pixels at once.

Reads   params.yaml: method.ipc, evaluate.networks, seeds, draws, test_every, precision, compile and evaluate.<PROTOCOL>,
        compute.threads, group; data/real/dataset
Writes  reports/baseline/<PROTOCOL>: rows.csv, curves.csv, classes.csv, info.json, metrics.json
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from distillation import params as parameters
from distillation import paths
from distillation.data.real import RealSet
from distillation.evaluation import cells, classify
from distillation.evaluation.sets import affords_all_pixels
from distillation.evaluation.settings import Draws, EvaluateCommon, training_settings
from distillation.runtime import process, stage
from distillation.runtime.errors import guarded

if TYPE_CHECKING:
    from distillation.runtime.work import Task


def run(protocol: str) -> None:
    """Trains the students of the baselines under a protocol and writes the out of the stage.

    Args:
        protocol: ``standard`` or ``common``. Real images have hard labels in both.

    Raises:
        BadInput: there is no such protocol, or a class has fewer than ``method.ipc`` images.
    """
    process.begin()
    params = parameters.load()
    common = params.fields("evaluate", EvaluateCommon)
    draws = params.fields("evaluate", Draws).draws
    ipc = params.fields("method", parameters.Images).ipc
    compute = params.section("compute", parameters.Compute)
    settings, _ = training_settings(params, protocol, "hard")
    data = RealSet.load(paths.DATASET)

    training = cells.protocol(common, "hard", settings)
    all_pixels = affords_all_pixels(data)
    # without seeds there are no k-means and class-mean students; random images are few enough to be decoded
    rows = list(cells.baselines(data, common.networks, common.seeds if all_pixels else 0, draws, ipc))
    name, out = f"baseline@{protocol}", paths.REPORTS / "baseline" / protocol

    def write(folder: Path, tasks: "list[Task]") -> None:
        images = {"random": ipc * len(data.classes)}
        if all_pixels:
            images |= {"kmeans": images["random"], "mean": len(data.classes)}
        info = {"protocol": protocol, "labels": "hard", "images": images, "settings": settings.model_dump()}
        cells.write(folder, rows, tasks, data.classes, info)

    jobs = cells.jobs(name, rows, training, paths.DATASET, data, compute)
    stage.produce(name, out, write, classify.train, jobs, compute, together=classify.TOGETHER)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", help="one of evaluate.protocols: standard, common")
    sys.exit(guarded(run, parser.parse_args().protocol))
