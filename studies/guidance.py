"""Effect of guidance: methods and alphas in one process, with the same seeds for every alpha.

    python -m studies.guidance --methods dm dsa dc --ipc 1 10 --alphas 0 10 100 --seeds 5 method.dm.iterations=200

It needs the outs of `dvc repro`: data/real/dataset and two pools of teachers on it. The pool ``--guide`` guides, the pool
``--held-out`` only judges. Settings are those of params.yaml, changed by the overrides. Each row of the CSV is one
distilled set: accuracy (percent) and cross-entropy of its images under the held-out models, and the accuracy of one student
trained on it by evaluate.standard.hard. The table gives means over seeds, and the paired difference to alpha 0 with its
standard error.
"""

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
import torch.nn.functional as F

from distillation.data.real import RealSet
from distillation.evaluation.settings import training_settings
from distillation.methods.driver import updates
from distillation.methods.guidance import Guidance
from distillation.runtime import device
from distillation.teachers.pool import Pool
from studies.common import common_with, method_of, settings_with, student_accuracy

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet
    from distillation.methods.base import Common
    from distillation.params import Params


def distilled_by(settings: "Params", common: "Common", data: RealSet, guide: Pool) -> "DistilledSet":
    """The distilled set of a method under its Common settings."""
    method = method_of(settings, common, data, guide)
    for _ in updates(method, Guidance(method.problem, guide) if common.guided else None):
        pass
    return method.result()


def labels_of(distilled: "DistilledSet") -> torch.Tensor:
    """The class (N,) of each image; the methods of this study give every image one."""
    assert distilled.labels is not None
    return distilled.labels


@torch.no_grad()
def held_out_scores(pool: Pool, distilled: "DistilledSet") -> tuple[float, float]:
    """Mean accuracy (percent) and cross-entropy of the images over the members of the pool."""
    labels = labels_of(distilled)
    logits = [pool.network(member)(distilled.images) for member in pool.members]
    hits = [100 * float((each.argmax(1) == labels).float().mean()) for each in logits]
    return statistics.mean(hits), statistics.mean(float(F.cross_entropy(each, labels)) for each in logits)


def study(args: argparse.Namespace) -> None:
    """Distils every set, writes the CSV and prints the table."""
    settings = settings_with(args.overrides)
    device.prepare(args.threads)
    data = RealSet.load("data/real/dataset")
    guide, held_out = (Pool(f"models/teachers/{name}") for name in (args.guide, args.held_out))
    protocol, _ = training_settings(settings, "standard", "hard")
    rows = []
    for name, ipc, seed, alpha in itertools.product(args.methods, args.ipc, range(args.seeds), args.alphas):
        before = time.monotonic()
        common = common_with(settings, name=name, ipc=ipc, seed=seed, alpha=alpha)
        distilled = distilled_by(settings, common, data, guide)
        score = student_accuracy(settings, protocol, distilled, labels_of(distilled), data, seed)
        rows.append([name, ipc, seed, alpha, *held_out_scores(held_out, distilled), score])
        print(*rows[-1], f"{time.monotonic() - before:.1f} s", file=sys.stderr, flush=True)
    columns = ["method", "ipc", "seed", "alpha", "held_out_accuracy", "held_out_ce", "accuracy"]
    table = pd.DataFrame(rows, columns=columns)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False, float_format="%.6g")
    print(summary(table).to_string(index=False, float_format="%.2f"))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds; ``gain`` is the paired difference of accuracy to alpha 0, ``se`` its standard error."""
    lines = []
    parts: Any = table.groupby(["method", "ipc"], sort=False)
    for (name, ipc), group in parts:
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
