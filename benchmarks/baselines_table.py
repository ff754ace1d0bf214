"""Methods beside each other: distilled sets of several seeds, and what one student of each reaches.

    python -m benchmarks.baselines_table --methods random dm dsa apm mtt frepo kip --ipc 1 10 --seeds 3 \
        --out reports/studies/baselines_digits.csv --experts experts method.mtt.iterations=100 ...

Run it where `dvc repro` has made data/real/dataset, the pool method.teacher (for apm) and, for mtt, the pool `--experts`
whose objective is trajectory. Settings are those of params.yaml but for the overrides. Each row of the CSV is one set: the
accuracy (percent) of a student under evaluate.common, on hard labels; with ``--own`` also of one under evaluate.standard
on the labels that the method means (mtt: at the learning rate it learnt; apm: the teacher's logits); and the seconds and
updates that the set took. Rows that the CSV holds are not made again. The table gives means and population std over n sets.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from distillation import methods, params
from distillation.data.real import RealSet
from distillation.evaluation.settings import training_settings
from distillation.labels.predict import predictions
from distillation.methods.base import Common, Problem
from distillation.networks.build import build
from distillation.runtime import device
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool
from distillation.training.accuracy import accuracy
from distillation.training.loop import Training
from distillation.training.losses import loss_of

COLUMNS = ["method", "ipc", "seed", "common", "own", "seconds", "updates"]


def distilled(given, common, data, pool):
    """The set that a method makes under its Common settings, and its number of updates."""
    module = methods.load(common.name)
    settings = given.section(f"method.{common.name}", module.Settings)
    method = module.METHOD(Problem(data, common, torch.device("cpu"), pool), settings)
    updates = 0
    while method.at < method.total:
        if method.advance().ready:
            method.apply()
            updates += 1
    return method.result(), updates


def trained(given, made, data, protocol, seed):
    """Test accuracy (percent) of one student, the same initial weights for every set of one seed."""
    word = given.value("evaluate.networks")[0]
    settings, kind = training_settings(given, protocol, made.kind)
    if "lr" in made.info and protocol == "standard":
        settings = settings.model_copy(update={"lr": made.info["lr"]})
    targets = made.targets
    if kind == "hard":
        targets = made.labels if targets is None else targets.argmax(1)
    network = build(word, *data.shape, generator(seed, "student", word))
    how = loss_of(settings.loss), settings, seed, f"student/{word}", data.info["flip"]
    training = Training(network, lambda index: (made.images[index], targets[index]), len(made.images), *how)
    while not training.done:
        training.advance()
    return accuracy(network, data, data.test)


def row_of(given, args, data, pools, name, ipc, seed):
    """One row of the CSV."""
    pool = pools.get(name, pools["others"])
    chosen = {k: {**given.value("method"), "name": name, "ipc": ipc, "seed": seed}[k] for k in Common.model_fields}
    if name == "mtt":
        chosen["teacher"] = args.experts
    if name == "frepo" and args.frepo_network:
        chosen["network"] = args.frepo_network
    before = time.monotonic()
    made, updates = distilled(given, Common(**chosen), data, pool)
    seconds = time.monotonic() - before
    own = trained(given, _labelled(made, name, pool), data, "standard", seed) if args.own else None
    return [name, ipc, seed, trained(given, made, data, "common", seed), own, round(seconds, 1), updates]


def _labelled(made, name, pool):
    """The set with the labels that its method means."""
    if name != "apm":
        return made
    targets = predictions(pool, made.images, made.space, "one", lambda x: x)
    return replace(made, targets=targets, info={**made.info, "labels": "logits"})


def main(args):
    given, out = params.load(), Path(args.out)
    for override in args.overrides:
        path, _, value = override.partition("=")
        *above, last = path.split(".")
        given.value(".".join(above))[last] = params.parse(value)
    device.prepare(args.threads)
    data = RealSet.load("data/real/dataset")
    pools = {"others": Pool(f"models/teachers/{given.value('method.teacher')}")}
    if "mtt" in args.methods:
        pools["mtt"] = Pool(f"models/teachers/{args.experts}")
    rows = pd.read_csv(out).to_numpy().tolist() if out.is_file() else []
    done = {tuple(row[:3]) for row in rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    for ipc in args.ipc:
        for seed in range(args.seeds):
            for name in args.methods:
                if (name, ipc, seed) not in done:
                    rows.append(row_of(given, args, data, pools, name, ipc, seed))
                    print(*rows[-1], file=sys.stderr, flush=True)
                    pd.DataFrame(rows, columns=COLUMNS).to_csv(out, index=False, float_format="%.6g")
    table = pd.DataFrame(rows, columns=COLUMNS).groupby(["ipc", "method"], sort=False)
    found = table.agg(
        n=("seed", "size"), common=("common", "mean"), updates=("updates", "max"), seconds=("seconds", "mean")
    )
    found.insert(2, "std", table["common"].std(ddof=0))
    found.insert(3, "own", table["own"].mean())
    found.insert(4, "own std", table["own"].std(ddof=0))
    print(found.reset_index().to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["random", "dm", "dsa", "apm", "mtt", "frepo", "kip"])
    parser.add_argument("--ipc", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--own", action="store_true", help="also the protocol of each method's own labels")
    parser.add_argument("--experts", default="experts", help="the pool of mtt")
    parser.add_argument("--frepo-network", help="a word with BN; method.network where it is not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="reports/studies/baselines.csv")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    main(parser.parse_args())
