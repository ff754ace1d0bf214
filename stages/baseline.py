"""Train the same networks by the same protocol on sets that nobody distilled: random, k-means and class-mean images.

Of a dataset whose images stay in files, only random ones: the others look at all pixels at once.

Reads   params.yaml: method.ipc, evaluate.networks, seeds, draws, test_every, precision, compile and evaluate.<PROTOCOL>,
        compute.threads; data/real/dataset
Writes  reports/baseline/<PROTOCOL>: rows.csv, curves.csv, info.json, metrics.json
"""

import argparse
import sys
from pathlib import Path

from distillation import params as parameters
from distillation.data.real import RealSet
from distillation.evaluation import cells
from distillation.evaluation import classify as students
from distillation.evaluation.sets import affords_all_pixels, k_means_choice, random_choice
from distillation.evaluation.settings import Draws, EvaluateCommon, Images, training_settings
from distillation.runtime import cost, process
from distillation.runtime.errors import guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.inputs import stage_inputs

DATA = Path("data/real/dataset")


def run(protocol):
    process.begin()
    params = parameters.load()
    common = params.fields("evaluate", EvaluateCommon)
    draws = params.fields("evaluate", Draws).draws
    ipc = params.fields("method", Images).ipc
    compute = params.section("compute", parameters.Compute)
    settings, _ = training_settings(params, protocol, "hard")
    data = RealSet.load(DATA)

    stage, out = f"baseline@{protocol}", f"reports/baseline/{protocol}"
    inputs = cells.inputs_of_one(stage_inputs(stage), protocol, "hard")
    how = students.Protocol("hard", settings, common.precision, common.compile, common.test_every)
    all_pixels = affords_all_pixels(data)
    wanted = list(_cells(data, common.networks, common.seeds if all_pixels else 0, draws, ipc))
    with cells.trained(stage, wanted, inputs, how, DATA, data, compute) as tasks:
        with atomic_output(out) as folder:
            images = {"random": ipc * len(data.classes)}
            if all_pixels:
                images |= {"kmeans": images["random"], "mean": len(data.classes)}
            info = {"protocol": protocol, "labels": "hard", "images": images, "settings": settings.model_dump()}
            cells.write(folder, wanted, tasks, info)
        cost.record(stage, out, tasks)


def _cells(data, networks, seeds, draws, ipc):
    """One student a random draw, with a seed of its own; ``seeds`` students of each of the other sets."""
    nearest = ("chosen", k_means_choice(data, ipc)) if seeds else None
    for word in networks:
        for draw in range(draws):
            yield cells.Cell(
                (("set", "random"), ("draw", draw)), ("chosen", random_choice(data, ipc, draw)), word, draw
            )
        for seed in range(seeds):
            yield cells.Cell((("set", "kmeans"), ("draw", 0)), nearest, word, seed)
            yield cells.Cell((("set", "mean"), ("draw", 0)), ("mean",), word, seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", help="one of evaluate.protocols: standard, common")
    sys.exit(guarded(run, parser.parse_args().protocol))
