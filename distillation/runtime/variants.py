"""Packages of which a parameter picks one module by name: methods, objectives, kinds of labels. The only dynamic imports.

A module's file name is its name in params.yaml, so that a new one needs no list to be edited. ``stages/code.py`` names
these packages, so that a stage's code has what it may load.
"""

import importlib
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def names(package: str, frame: Collection[str] = ()) -> list[str]:
    """The variants in ``package`` (dotted), sorted: all its modules but those that ``frame`` names."""
    folder = ROOT.joinpath(*package.split("."))
    return sorted(file.stem for file in folder.glob("[a-z]*.py") if file.stem not in frame)


def load(package: str, name: str) -> ModuleType:
    """The module ``name`` of ``package``, one of its ``names``."""
    return importlib.import_module(f"{package}.{name}")
