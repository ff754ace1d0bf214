"""Packages of which a parameter picks one module by name (methods, objectives, kinds of labels), imported dynamically.

A module's file name is its name in params.yaml, so that a new one needs no list to be edited. ``stages/code.py`` names
these packages, so that the code of a stage includes the variants that it may load. No other stage code imports by name.
"""

import importlib
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def names(package: str, frame: Collection[str] = ()) -> list[str]:
    """Lists the names of the variants in a package, sorted: the values that the parameter may have.

    Args:
        package: dotted name, like ``distillation.methods``.
        frame: names of modules in it that are no variants, such as ``base``, which all variants share.
    """
    folder = ROOT.joinpath(*package.split("."))
    return sorted(file.stem for file in folder.glob("[a-z]*.py") if file.stem not in frame)


def load(package: str, name: str) -> ModuleType:
    """Imports and returns the module ``name`` of ``package``; callers check first that it is one of ``names``."""
    return importlib.import_module(f"{package}.{name}")
