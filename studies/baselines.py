"""Comparison of methods: distilled sets of several seeds, and the accuracy of one student of each.

    python -m studies.baselines --methods random dm dsa apm --ipc 1 10 --seeds 3 method.dm.iterations=100

It needs the outs of `dvc repro`: data/real/dataset, the pool method.teacher (for apm) and, for mtt, the pool ``--experts``
whose objective is trajectory. Settings are those of params.yaml, changed by the overrides. Each row of the CSV is one set:
the accuracy (percent) of a student under evaluate.common, on hard labels; with ``--own`` also of one under
evaluate.standard on the method's own labels (mtt: at the learning rate it learnt; apm: the teacher's logits); and the
seconds and updates that the set took. Rows that the CSV has are not computed again. The table gives means and population
std over n sets.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from distillation.data.real import RealSet
from distillation.evaluation.settings import training_settings
from distillation.labels.predict import predictions
from distillation.methods.driver import updates
from distillation.runtime import device
from distillation.teachers.pool import Pool
from studies.common import common_with, method_of, settings_with, student_accuracy

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet
    from distillation.params import Params

COLUMNS = ["method", "ipc", "seed", "common", "own", "seconds", "updates"]


def trained(settings: "Params", distilled: "DistilledSet", data: RealSet, protocol: str, seed: int) -> float:
    """Test accuracy (percent) of one student of the set under a protocol."""
    training, kind = training_settings(settings, protocol, distilled.kind)
    if "lr" in distilled.info and protocol == "standard":
        training = training.model_copy(update={"lr": distilled.info["lr"]})
    targets = distilled.targets
    if kind == "hard":
        targets = distilled.labels if targets is None else targets.argmax(1)
    assert targets is not None  # every method here labels its images
    return student_accuracy(settings, training, distilled, targets, data, seed)


def row_of(
    settings: "Params",
    args: argparse.Namespace,
    data: RealSet,
    pools: Mapping[str, Pool],
    name: str,
    ipc: int,
    seed: int,
) -> list[Any]:
    """One row of the CSV, with the values of ``COLUMNS``."""
    pool = pools.get(name, pools["others"])
    changed: dict[str, Any] = {"alpha": 0.0}  # methods are compared without guidance
    if name == "mtt":
        changed["teacher"] = args.experts
    if name == "frepo" and args.frepo_network:
        changed["network"] = args.frepo_network
    before = time.monotonic()
    method = method_of(settings, common_with(settings, name=name, ipc=ipc, seed=seed, **changed), data, pool)
    *_, last = updates(method)
    distilled, seconds = method.result(), time.monotonic() - before
    own = trained(settings, _labelled(distilled, name, pool), data, "standard", seed) if args.own else None
    common = trained(settings, distilled, data, "common", seed)
    return [name, ipc, seed, common, own, round(seconds, 1), last.updates]


def _labelled(distilled: "DistilledSet", name: str, pool: Pool) -> "DistilledSet":
    """The set with its method's own labels."""
    if name != "apm":
        return distilled
    targets = predictions(pool, distilled.images, distilled.space, "one", lambda x: x)
    return replace(distilled, targets=targets, info={**distilled.info, "labels": "logits"})


def main(args: argparse.Namespace) -> None:
    """Computes the missing rows, writes the CSV and prints the table."""
    settings, out = settings_with(args.overrides), Path(args.out)
    device.prepare(args.threads)
    data = RealSet.load("data/real/dataset")
    pools = {"others": Pool(f"models/teachers/{settings.value('method.teacher')}")}
    if "mtt" in args.methods:
        pools["mtt"] = Pool(f"models/teachers/{args.experts}")
    rows = pd.read_csv(out).to_numpy().tolist() if out.is_file() else []
    done = {tuple(row[:3]) for row in rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    for ipc, seed, name in itertools.product(args.ipc, range(args.seeds), args.methods):
        if (name, ipc, seed) not in done:
            rows.append(row_of(settings, args, data, pools, name, ipc, seed))
            print(*rows[-1], file=sys.stderr, flush=True)
            pd.DataFrame(rows, columns=COLUMNS).to_csv(out, index=False, float_format="%.6g")
    table = pd.DataFrame(rows, columns=COLUMNS).groupby(["ipc", "method"], sort=False)
    means = table.agg(
        n=("seed", "size"), common=("common", "mean"), updates=("updates", "max"), seconds=("seconds", "mean")
    )
    means.insert(2, "std", table["common"].std(ddof=0))
    means.insert(3, "own", table["own"].mean())
    means.insert(4, "own std", table["own"].std(ddof=0))
    print(means.reset_index().to_string(index=False, float_format="%.2f"))


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
