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
# By script, the package of which a parameter picks one module. Each module has a code file of its own, so that an edit
# of one method reruns no set that another made.
VARIANTS = {
    "distill": methods,
    "teacher": objectives,
    "relabel": kinds,
}


def programs() -> Iterator[tuple[str, list[str]]]:
    """Yields every program, that is a stage script or, of a script with variants, the script with one of them.

    The stage check loads all variants, to check their settings.

    Yields:
        The name of the program, as in ``distill-dm``, and the dotted names of the modules that it starts from.
    """
    every = [f"{package.__name__}.{name}" for package in VARIANTS.values() for name in package.names()]
    for script in sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")):
        if package := VARIANTS.get(script):
            for name in package.names():
                yield f"{script}-{name}", [f"stages.{script}", f"{package.__name__}.{name}"]
        else:
            yield script, [f"stages.{script}", *(every if script == "check" else [])]


def run() -> None:
    """Writes a JSON file for every program: the digest of each module and data file that it may run, by path."""
    process.begin()
    with atomic_output(OUT) as out:
        for name, modules in programs():
            files.save_json(out / f"{name}.json", closure(*modules))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
