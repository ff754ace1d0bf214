"""Refuses bad parameters before anything is removed or trained.

    python -m stages.check

Reads   params.yaml, every section
Writes  data/checked, always the same bytes, so that no later stage reruns because of it, whatever machine checked it
"""

import argparse
import sys
from pathlib import Path

from distillation import params as parameters
from distillation.checks import check_all, notes, resources
from distillation.runtime import process
from distillation.runtime.errors import guarded

OUT = Path("data/checked")


def run() -> None:
    """Checks params.yaml and prints notes on values that are valid but unlikely to be intended."""
    process.begin()
    params = parameters.load()
    compute = params.section("compute", parameters.Compute)
    resources.check(params, check_all(params), resources.this_machine(compute))
    for note in notes(params):
        print(f"note: {note}", file=sys.stderr)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("The parameters are sound.\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
