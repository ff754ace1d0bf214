"""Does guidance help? Methods and alphas in one process, with the same seeds for every alpha.

    python -m benchmarks.guidance_study --methods dm dsa dc --ipc 1 10 --alphas 0 10 100 1000 --seeds 5 --out study.csv \
        method.dm.iterations=200 method.network=ConvNetW32 ...

Run it where `dvc repro` has made data/real/dataset and two pools of teachers on it: `--guide` guides, `--held-out` only
looks. Settings are those of params.yaml but for the overrides. Each row of the CSV is one distilled set: accuracy
(percent) and cross-entropy of its images under the held-out models, and the accuracy of one student trained on it by
evaluate.standard.hard. The table gives means over seeds, and the paired difference to alpha 0 with its standard error.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from distillation import methods, params
from distillation.data.real import RealSet
from distillation.evaluation.settings import training_settings
from distillation.methods.base import Common, Problem
from distillation.methods.guidance import Guidance
from distillation.networks.build import build
from distillation.runtime import device
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool
from distillation.training.accuracy import accuracy
from distillation.training.loop import Training
from distillation.training.losses import loss_of


def distilled(given, name, common, data, guide):
    """The set that method ``name`` makes under the Common settings."""
    problem = Problem(data, common, torch.device("cpu"), guide)
    module = methods.load(name)
    method = module.METHOD(problem, given.section(f"method.{name}", module.Settings))
    guidance = Guidance(problem, guide) if common.guided else None
    updates = 0
    while method.at < method.total:
        if method.advance().ready:
            if guidance:
                guidance.add_gradient(method, updates)
            method.apply()
            updates += 1
    return method.result()


@torch.no_grad()
def seen_by(pool, made):
    """Mean accuracy (percent) and cross-entropy of the images under every member of the pool."""
    logits = [pool.network(member)(made.images) for member in pool.members]
    hits = [100 * float((each.argmax(1) == made.labels).float().mean()) for each in logits]
    return statistics.mean(hits), statistics.mean(float(F.cross_entropy(each, made.labels)) for each in logits)


def trained(given, made, data, seed):
    """Test accuracy (percent) of one student, the same initial weights for every set of one seed."""
    (word, *_), (settings, _) = given.value("evaluate.networks"), training_settings(given, "standard", "hard")
    network = build(word, *data.shape, generator(seed, "student", word))
    batch_of = lambda index: (made.images[index], made.labels[index])  # noqa: E731
    training = Training(
        network, batch_of, len(made.labels), loss_of("ce"), settings, seed, f"student/{word}", data.info["flip"]
    )
    while not training.done:
        training.advance()
    return accuracy(network, data, data.test)


def study(args):
    given = params.load()
    for override in args.overrides:
        path, _, value = override.partition("=")
        *above, last = path.split(".")
        given.value(".".join(above))[last] = params.parse(value)
    device.prepare(args.threads)
    data = RealSet.load("data/real/dataset")
    guide, held_out = (Pool(f"models/teachers/{name}") for name in (args.guide, args.held_out))
    rows = []
    for name in args.methods:
        for ipc in args.ipc:
            for seed in range(args.seeds):
                for alpha in args.alphas:
                    before = time.monotonic()
                    changed = {"name": name, "ipc": ipc, "seed": seed, "alpha": alpha}
                    common = Common(**{k: {**given.value("method"), **changed}[k] for k in Common.model_fields})
                    made = distilled(given, name, common, data, guide)
                    hits, entropy = seen_by(held_out, made)
                    score = trained(given, made, data, seed)
                    seconds = time.monotonic() - before
                    rows.append([name, ipc, seed, alpha, hits, entropy, score])
                    print(*rows[-1], f"{seconds:.1f} s", file=sys.stderr, flush=True)
    columns = ["method", "ipc", "seed", "alpha", "held_out_accuracy", "held_out_ce", "accuracy"]
    table = pd.DataFrame(rows, columns=columns)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False, float_format="%.6g")
    print(summary(table).to_string(index=False, float_format="%.2f"))


def summary(table):
    """Means over seeds; ``gain`` is the paired difference of accuracy to alpha 0, ``se`` its standard error."""
    lines = []
    for (name, ipc), group in table.groupby(["method", "ipc"], sort=False):
        base = group[group["alpha"] == 0].set_index("seed")["accuracy"]
        for alpha, part in group.groupby("alpha"):
            gain = part.set_index("seed")["accuracy"] - base
            lines.append(
                {
                    "method": name,
                    "ipc": ipc,
                    "alpha": alpha,
                    "n": len(part),
                    "held-out accuracy": part["held_out_accuracy"].mean(),
                    "held-out CE": part["held_out_ce"].mean(),
                    "accuracy": part["accuracy"].mean(),
                    "std": part["accuracy"].std(ddof=0),
                    "gain": gain.mean(),
                    "se": gain.std(ddof=1) / len(gain) ** 0.5,
                }
            )
    return pd.DataFrame(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["dm"])
    parser.add_argument("--ipc", nargs="+", type=int, default=[1])
    parser.add_argument("--alphas", nargs="+", type=float, default=[0.0, 10.0, 100.0, 1000.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--guide", default="main")
    parser.add_argument("--held-out", default="held")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="reports/studies/guidance.csv")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    study(parser.parse_args())
