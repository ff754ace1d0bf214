"""Writes the report: one page, its figures, and the numbers that DVC compares.

    python -m stages.report

Reads   params.yaml: evaluate.protocols, evaluate.assess.teachers, evaluate.kd.teachers, targets, teacher (the names of the
        pools); data/distilled; data/relabeled; models/teachers; reports/evaluation; reports/baseline; reports/whole;
        reports/assessment; reports/transfer; reports/kd
Writes  reports/index.html, reports/figures, reports/metrics.json
"""

import argparse
import sys
from pathlib import Path

from distillation import params
from distillation.report import figures, page, reading, tables
from distillation.runtime import files, process
from distillation.runtime.errors import guarded

REPORTS = Path("reports")


def run() -> None:
    """Reads everything and renders it, then writes, so that a missing file is reported before anything is replaced.

    Raises:
        BadInput: an out of another stage is missing or damaged.
    """
    process.begin()
    parameters = params.load()
    artefacts = reading.read(
        parameters.value("evaluate.protocols"),
        parameters.value("teacher"),
        assessed=parameters.value("evaluate.assess.teachers"),
        targets=parameters.value("targets"),
        kd=parameters.value("evaluate.kd.teachers"),
    )
    plots = {f"{name}.png": figures.png(draw) for name, draw in figures.drawings(artefacts).items()}
    html = page.render(page.context(artefacts))
    for name, content in plots.items():
        files.write_bytes(REPORTS / "figures" / name, content)
    # figures of pools, protocols and networks that are no longer named
    for stale in set((REPORTS / "figures").iterdir()) - {REPORTS / "figures" / name for name in plots}:
        stale.unlink()
    files.write_bytes(REPORTS / "index.html", html.encode(errors="replace"))
    files.save_json(REPORTS / "metrics.json", tables.metrics(artefacts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
