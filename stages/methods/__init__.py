"""One file per distillation method.

A method's file defines ``Settings`` (its section of params.yaml) and ``METHOD`` (its class, see ``shared.base.Method``).
"""

import importlib
from pathlib import Path

from stages.runtime.errors import BadInput


def names():
    """Every method there is."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py"))


def load(name):
    """The module of a method: the one dynamic import of the pipeline. Raises BadInput where there is none."""
    if name not in names():
        raise BadInput(f"method.name is {name!r}, but the methods are {', '.join(names())}.")
    return importlib.import_module(f"stages.methods.{name}")
