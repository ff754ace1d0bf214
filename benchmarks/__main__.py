"""The table of every hot step: straightforward loop, ours eager, compiled, and compiled in bf16, and the floor.

    python -m benchmarks --quick                      smaller networks and batches, minutes
    python -m benchmarks --quick --eager --only dm,mtt
    python -m benchmarks --csv FILE                   the published CIFAR-10 sizes, and a file of rows

The contestants of a step take turns in one run; a ratio is the seconds of the straightforward loop over ours. The column
of compiling gives the seconds of making the step and its first call, both precisions together. docs/benchmarks.md tells how
the floor is counted.
"""

import argparse
import csv
import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import common, floor, machine
from benchmarks.common import Hot
from benchmarks.measure import seconds_of, times
from distillation.runtime import device

MODULES = {
    "dm": "dm_step", "matching": "matching_step", "apm": "apm_step", "recovery": "recover_step", "krr_st": "krr_step",
    "kernel": "kernel_step", "mtt": "mtt_step", "guidance": "guidance_step", "ssl": "ssl_step", "student": "student_step",
    "groups": "group_step", "decode": "decode",
}  # fmt: skip
WORDS = {"dc": "matching", "dsa": "matching", "frepo": "kernel", "kip": "kernel"}  # methods that share a benchmark
MATRIX = {"published": 2048, "quick": 2048, "tiny": 128}  # sides of the matrices that measure the peaks
FIELDS = [
    "machine", "sets", "threads", "torch", "commit", "scale", "step", "contestant", "precision", "compiled", "seconds",
    "least", "repetitions", "ratio", "compile_seconds", "floor", "gflop", "mbytes",
]  # fmt: skip


def variants(hot: Hot, precisions: list[str], compile: bool) -> list[tuple[str, bool]]:
    """The pairs of precision and compiling in which a step is raced."""
    if not (hot.network and compile):
        return [("fp32", False)]
    return [("fp32", False), *((precision, True) for precision in precisions)]


def rows_of(name: str, hot: Hot, args: argparse.Namespace, where: torch.device, peaks: floor.Peaks) -> Iterator[dict]:
    """Races the contestants of one step and yields their rows, the straightforward loop first."""
    contestants, first = {"straightforward": hot.plain}, {}
    for precision, compile in variants(hot, list(peaks.flops), not args.eager):
        before = time.perf_counter()
        step = hot.ours(common.changed(args, precision=precision, compile=compile))
        first[precision, compile] = time.perf_counter() - before + seconds_of(step, where)
        contestants[precision, compile] = step
    needed = floor.work(contestants["fp32", False])
    seconds = times(contestants, args.steps, where)
    medians = {key: statistics.median(each) for key, each in seconds.items()}
    for key, each in seconds.items():
        precision, compile = ("fp32", False) if key == "straightforward" else key
        yield {
            "step": name, "contestant": "straightforward" if key == "straightforward" else "ours",
            "precision": precision, "compiled": int(compile), "seconds": medians[key], "least": min(each),
            "repetitions": len(each), "ratio": medians["straightforward"] / medians[key],
            "compile_seconds": first[key] if compile else "", "floor": needed.seconds(peaks, precision),
            "gflop": needed.flops / 1e9, "mbytes": needed.bytes / 1e6,
        }  # fmt: skip


def measured(args: argparse.Namespace, chosen: list[str], where: torch.device) -> Iterator[dict]:
    """Yields the rows of all chosen benchmarks, each as soon as its step is done."""
    precisions = ["fp32", "bf16"] if machine.has_bf16(where) else ["fp32"]
    peaks = floor.peaks(where, precisions, MATRIX[args.scale])
    known = {**machine.describe(where, args.threads), "scale": args.scale}
    reached = ", ".join(f"{precision} {value / 1e9:,.0f} GFLOP/s" for precision, value in peaks.flops.items())
    print(
        f"{known['machine']} ({known['sets']}), {args.threads} threads, torch {known['torch']}, commit {known['commit']}"
    )
    print(f"peaks: {reached}, copy {peaks.bytes / 1e9:.1f} GB/s; sizes: {args.scale}\n")
    for module in (importlib.import_module(f"benchmarks.{MODULES[word]}") for word in chosen):
        own = module.arguments().parse_args([])
        shared = {"steps": args.steps, "threads": args.threads, "device": args.device, "eager": args.eager}
        own = common.changed(own, **module.SIZES.get(args.scale, {}), **shared)
        with tempfile.TemporaryDirectory() as folder:
            for name, hot in module.steps(own, where, Path(folder)).items():
                for row in rows_of(name, hot, own, where, peaks):
                    yield {**known, **row}


def line(rows: list[dict[str, Any]], bf16: bool) -> str:
    """The line of the table of one step, from its rows."""
    found = {(row["contestant"], row["precision"], row["compiled"]): row for row in rows}

    def cell(precision: str, compile: int) -> str:
        row = found.get(("ours", precision, compile))
        missing = "no units" if precision == "bf16" and not bf16 else "-"
        return f"{row['seconds']:9.4f} x{row['ratio']:5.2f}" if row else f"{missing:>16s}"

    plain, eager = found["straightforward", "fp32", 0], found["ours", "fp32", 0]
    compiling = sum(row["compile_seconds"] or 0.0 for row in rows)
    low = found.get(("ours", "bf16", 1))
    return (
        f"{plain['step']:22s} {plain['seconds']:9.4f} {cell('fp32', 0)} {cell('fp32', 1)} {cell('bf16', 1)} {compiling:8.1f} "
        f"{eager['floor']:9.4f} " + (f"{low['floor']:9.4f}" if low else f"{'-':>9s}")
    )


HEAD = (
    f"{'seconds a step':22s} {'straight':>9s} {'eager fp32':>16s} {'compiled fp32':>16s} {'compiled bf16':>16s} "
    f"{'compile':>8s} {'floor fp32':>9s} {'bf16':>8s}"
)


def chosen(words: str | None) -> list[str]:
    """The benchmarks that ``--only`` names, in the order of the table.

    Raises:
        SystemExit: a word names none.
    """
    given = [WORDS.get(word, word) for word in words.split(",")] if words else list(MODULES)
    if unknown := [word for word in given if word not in MODULES]:
        print(f"--only: no benchmark {unknown[0]}: choose from {', '.join([*MODULES, *WORDS])}.", file=sys.stderr)
        raise SystemExit(2)
    return [word for word in MODULES if word in given]


def arguments() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", default="published")
    parser.add_argument("--tiny", dest="scale", action="store_const", const="tiny", help="sizes that measure nothing")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--only", metavar="NAME,NAME", help=f"of {', '.join([*MODULES, *WORDS])}")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("--steps", type=int, default=5, help="repetitions")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    return parser


def main(args: argparse.Namespace) -> None:
    """Prints the table, line by line, and writes the rows after each step."""
    names = chosen(args.only)
    device.prepare(args.threads)
    where = torch.device(args.device)
    bf16, rows, printed = machine.has_bf16(where), [], False
    for row in measured(args, names, where):
        if not printed:
            printed = not print(HEAD, flush=True)
        if rows and row["step"] != rows[-1]["step"]:
            report(rows, args.csv, bf16)
        rows.append(row)
    report(rows, args.csv, bf16)


def report(rows: list[dict[str, Any]], file: Path | None, bf16: bool) -> None:
    """Prints the line of the last step of the rows, and writes all rows into the file."""
    print(line([row for row in rows if row["step"] == rows[-1]["step"]], bf16), flush=True)
    if file:
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, FIELDS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main(arguments().parse_args())
