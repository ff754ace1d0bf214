"""Refuses bad parameters before anything is removed or trained.

    python -m stages.check

Reads   params.yaml, every section
Writes  data/checked, always the same bytes, so that no later stage reruns because of it, whatever machine checked it
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from distillation import params as parameters
from distillation.checks import check_all, copy_notes, file_notes, notes, resources
from distillation.runtime import process
from distillation.runtime.errors import guarded

OUT = Path("data/checked")


def run() -> None:
    """Checks params.yaml and writes the out.

    Prints notes on stderr about values that are valid but unlikely to be intended, and about missing files.

    Raises:
        BadInput: a value could not work, or this machine cannot hold what the values need.
    """
    process.begin()
    _print(copy_notes())  # first: code that is not there is a reason for a refusal
    params = parameters.load()
    compute = params.section("compute", parameters.Compute)
    resources.check(params, check_all(params), resources.this_machine(compute))
    _print(notes(params))
    _print(file_notes(params))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("The parameters are sound.\n")


def _print(sentences: Iterator[str]) -> None:
    """Prints each sentence as a note on stderr."""
    for sentence in sentences:
        print(f"note: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
