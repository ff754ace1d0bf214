"""Write the report: one page, its figures, and the numbers that DVC compares."""

import argparse
import sys
from pathlib import Path

from stages import params
from stages.containers import tensors
from stages.reporting import figures, page, reading, tables
from stages.runtime.errors import guarded

REPORTS = Path("reports")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m stages.report",
        description=__doc__,
        epilog="Reads params.yaml (evaluate.protocols, the names under teacher), models/teachers/, data/distilled/, "
        "data/relabeled/, reports/evaluation/, reports/baseline/ and reports/whole/. "
        "Writes reports/index.html, reports/figures/ and reports/metrics.json.",
    )
    parser.parse_args(argv)
    return guarded(run)


def run():
    """Read everything, then write: what is missing is said before anything is replaced."""
    given = params.load()
    artefacts = reading.read(given.value("evaluate.protocols"), given.value("teacher"))
    drawn = {f"{name}.png": figures.png(draw) for name, draw in figures.drawings(artefacts).items()}
    html = page.render(page.context(artefacts))
    for name, content in drawn.items():
        _write(REPORTS / "figures" / name, content)
    for stale in set((REPORTS / "figures").iterdir()) - {REPORTS / "figures" / name for name in drawn}:
        stale.unlink()
    _write(REPORTS / "index.html", html.encode())
    tensors.save_json(REPORTS / "metrics.json", tables.metrics(artefacts))


def _write(path, content):
    with tensors.replacing(path) as partial:
        partial.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
