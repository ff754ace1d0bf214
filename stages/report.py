"""Write the report: one page, its figures, and the numbers that DVC compares.

Reads   params.yaml: evaluate.protocols, evaluate.assess.teachers, evaluate.kd.teachers, targets, teacher (the names of the
        pools); data/distilled; data/relabeled; models/teachers; reports/evaluation; reports/baseline; reports/whole;
        reports/assessment; reports/transfer; reports/kd
Writes  reports/index.html, reports/figures, reports/metrics.json; removes what was made for names that are gone
"""

import argparse
import shutil
import sys
from pathlib import Path

from distillation import params
from distillation.report import figures, page, reading, tables
from distillation.runtime import files, process
from distillation.runtime.errors import guarded

REPORTS = Path("reports")


def run():
    """Read everything, then write: what is missing is said before anything is replaced."""
    process.begin()
    given = params.load()
    artefacts = reading.read(
        given.value("evaluate.protocols"),
        given.value("teacher"),
        assessed=given.value("evaluate.assess.teachers"),
        targets=given.value("targets"),
        taught=given.value("evaluate.kd.teachers"),
    )
    drawn = {f"{name}.png": figures.png(draw) for name, draw in figures.drawings(artefacts).items()}
    html = page.render(page.context(artefacts))
    for name, content in drawn.items():
        _write(REPORTS / "figures" / name, content)
    for stale in set((REPORTS / "figures").iterdir()) - {REPORTS / "figures" / name for name in drawn}:
        stale.unlink()
    _write(REPORTS / "index.html", html.encode())
    files.save_json(REPORTS / "metrics.json", tables.metrics(artefacts))
    _remove_unnamed(given)


def _remove_unnamed(given):
    """Remove the outs of pools, protocols and targets that params.yaml no longer names; DVC's cache keeps them.

    This stage depends on their parent folders, which DVC hashes when it ends: what stayed there would enter the hash on
    this machine alone.
    """
    named = {
        "models/teachers": "teacher",
        "reports/evaluation": "evaluate.protocols",
        "reports/baseline": "evaluate.protocols",
        "reports/assessment": "evaluate.assess.teachers",
        **{f"reports/transfer/{sets}": "targets" for sets in ("distilled", "baseline")},
        **{f"reports/kd/{sets}": "evaluate.kd.teachers" for sets in ("distilled", "baseline")},
    }
    for folder, path in named.items():
        for out in Path(folder).glob("*/"):
            if out.name not in given.value(path):
                shutil.rmtree(out)


def _write(path, content):
    with files.replacing(path) as partial:
        partial.write_bytes(content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
