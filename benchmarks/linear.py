"""How the seconds of a step grow with the number of distilled images: three sizes of each step of ours.

    python -m benchmarks.linear --quick

DM's and DSA's work on real images stays the same, on synthetic ones it grows, so their sum is flat and then linear. APM's
image step, recovery (by classes) and an evaluation's student are linear. The last column is the seconds of an image over
those of the smallest size: 1 is linear, below 1 is what is flat. The sizes of a step take turns in one run.
"""

import argparse
import importlib
import statistics
import tempfile
from pathlib import Path

import torch

from benchmarks import common
from benchmarks.measure import times
from distillation.runtime import device

GROWING = {
    "dm": ("dm_step", "ipc"), "dsa matching": ("matching_step", "ipc"), "apm image step": ("apm_step", "ipc"),
    "recovery": ("recover_step", "batch"), "student": ("student_step", "ipc"),
}  # fmt: skip
SIZES = {"published": (10, 25, 50), "quick": (5, 10, 20), "tiny": (1, 2, 3)}  # images of a class; recovery: classes / 2


def arguments() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", default="published")
    parser.add_argument("--tiny", dest="scale", action="store_const", const="tiny", help="sizes that measure nothing")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=5, help="repetitions")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    return parser


def main(args: argparse.Namespace) -> None:
    """Prints a line for each size of each step."""
    device.prepare(args.threads)
    where = torch.device(args.device)
    print(f"{'step':16s} {'images':>7s} {'seconds':>9s} {'an image, of the smallest':>26s}")
    shared = {name: getattr(args, name) for name in ("precision", "compile", "steps", "threads", "device")}
    for name, (file, word) in GROWING.items():
        module = importlib.import_module(f"benchmarks.{file}")
        own = common.changed(module.arguments().parse_args([]), **module.SIZES.get(args.scale, {}), **shared)
        with tempfile.TemporaryDirectory() as root:
            contestants = {}
            for size in SIZES[args.scale]:
                count = 2 * size if word == "batch" else size
                sized = common.changed(own, **{word: count})
                folder = Path(root) / str(size)
                folder.mkdir()
                contestants[count] = module.steps(sized, where, folder)[name].ours(sized)
            seconds = {str(count): step for count, step in contestants.items()}
            medians = {int(k): statistics.median(v) for k, v in times(seconds, args.steps, where).items()}
        smallest = min(medians)
        for count, median in medians.items():
            images = count if word == "batch" else common.CLASSES * count
            print(
                f"{name:16s} {images:7d} {median:9.4f} {median / count / (medians[smallest] / smallest):26.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main(arguments().parse_args())
