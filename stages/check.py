"""Refuse bad parameters before anything is removed or trained.

Reads   params.yaml, every section
Writes  data/checked, always the same bytes, so that nothing downstream reruns for it
"""

import argparse
import sys
from pathlib import Path

from distillation import params as parameters
from distillation.checks import check_all, notes
from distillation.runtime import process
from distillation.runtime.errors import guarded

OUT = Path("data/checked")


def run() -> None:
    process.begin()
    params = parameters.load()
    check_all(params)
    for note in notes(params):
        print(f"note: {note}", file=sys.stderr)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("The parameters are sound.\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
