"""One file per kind of labels that the distilled images can be given.

A kind's file defines ``Settings`` (its section of params.yaml) and ``label``, a function of a DistilledSet, its name and a
``labelling.Labelling`` that gives the labelled set and the files that go with it: (tensors, record) by name. Where labels
are long work, ``jobs`` gives the jobs of its ``store`` that must be finished first.
"""

from types import ModuleType

from distillation.runtime import variants
from distillation.runtime.errors import BadInput


def names() -> list[str]:
    """Every kind there is."""
    return variants.names(__name__)


def load(name: str) -> ModuleType:
    """The module of a kind. Raises BadInput where there is none."""
    if name not in names():
        raise BadInput(f"relabel.kind is {name!r}, but it can be {', '.join(names())}.")
    return variants.load(__name__, name)
