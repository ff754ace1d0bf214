"""Fingerprints the code of every stage, so that DVC reruns the stages whose code an edit changes and no other.

    python -m stages.code

Reads   stages, distillation
Writes  data/code: for each stage script, and each variant that a parameter picks (a method, an objective, a kind of
        labels), SCRIPT.json or SCRIPT-VARIANT.json: digests of all modules and data files that it may run
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from distillation import methods
from distillation.labels import kinds
from distillation.runtime import files, process
from distillation.runtime.errors import guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.fingerprint import closure
from distillation.teachers import objectives

OUT = "data/code"
# By script, the package of which a parameter picks one module.
VARIANTS = {
    "distill": methods,
    "teacher": objectives,
    "relabel": kinds,
}


def programs() -> Iterator[tuple[str, list[str]]]:
    """Yields (name, dotted names of the modules that it may run) of every stage script and variant.

    The stage check may run all variants.
    """
    every = [f"{package.__name__}.{name}" for package in VARIANTS.values() for name in package.names()]
    for script in sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")):
        if package := VARIANTS.get(script):
            for name in package.names():
                yield f"{script}-{name}", [f"stages.{script}", f"{package.__name__}.{name}"]
        else:
            yield script, [f"stages.{script}", *(every if script == "check" else [])]


def run() -> None:
    """Writes the digests of every program."""
    process.begin()
    with atomic_output(OUT) as out:
        for name, modules in programs():
            files.save_json(out / f"{name}.json", closure(*modules))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
