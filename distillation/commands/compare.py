"""Shows results side by side, and which assessment predicts the accuracy over them. A command, no stage.

    python -m distillation compare
    python -m distillation compare --all

Reads   params.yaml and reports/metrics.json of the workspace, of HEAD and of its experiments, or of those named; Git
        holds them, nothing has to be pulled
Writes  reports/compare: index.html, and for each of its parts NAME.csv, for figures NAME.png
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distillation.compare import accuracies, assessments, claims, correlation, page
from distillation.recipes import results
from distillation.report import figures
from distillation.runtime import files, process
from distillation.runtime.errors import BadInput, guarded

if TYPE_CHECKING:
    import pandas as pd

    from distillation.compare.section import Section

OUT = "reports/compare"


def run(names: Sequence[str], every: bool, metric: str | None, out: str) -> None:
    """Compares results and writes and prints the comparison.

    Args:
        names: experiments, Git revisions or ``workspace``. If empty: HEAD, its experiments and the workspace.
        every: whether experiments of all commits count.
        metric: path of the accuracy that assessments are correlated with, as in ``evaluate.standard.ConvNet``; None:
            the one that most results have.
        out: folder to write.

    Raises:
        BadInput: a name or metric is unknown, or there is only one result and no claim that it measures.
    """
    process.begin()
    compared = results.read(names, every)
    metric, published = accuracies.main_accuracy(compared, metric), claims.section(compared)
    # one result alone is compared with the published numbers, if it measures a row of a recipe
    if len(compared) < 2 and published.shown.empty:
        raise BadInput(
            f"there is one result only ({compared[0].name}), nothing to compare it to: `dvc exp run -S ...` makes another."
        )
    sections = [
        accuracies.section(compared),
        published,
        assessments.section(compared),
        correlation.section(compared, metric),
    ]
    write(sections, Path(out))
    print(page.text(sections))
    print(f"\nWritten: {out}/index.html", file=sys.stderr)


def write(sections: "Sequence[Section]", out: Path) -> None:
    """Writes the page and the files of each section; removes a figure that an earlier comparison left."""
    for section in sections:
        files.write_bytes(out / f"{section.name}.csv", _csv(section.values))
        picture = out / f"{section.name}.png"
        if section.draw:
            files.write_bytes(picture, figures.png(section.draw))
        else:
            picture.unlink(missing_ok=True)
    files.write_bytes(out / "index.html", page.html(sections).encode(errors="replace"))


def _csv(values: "pd.DataFrame") -> bytes:
    return values.to_csv(index=False, lineterminator="\n").encode(errors="replace")


def main() -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, Git revisions or `workspace`; default: all of HEAD's")
    parser.add_argument("--all", action="store_true", help="experiments of every commit, not of HEAD alone")
    parser.add_argument(
        "--metric", help="the final accuracy, like evaluate.standard.ConvNet (default: the one of most results)"
    )
    parser.add_argument("--out", default=OUT, help=f"folder to write (default: {OUT})")
    args = parser.parse_args()
    return guarded(run, args.names, args.all, args.metric, args.out)
