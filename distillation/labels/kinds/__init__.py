"""One file per kind of labels for distilled images.

A kind's file defines ``Settings`` (its section of params.yaml) and ``label``, a function of a DistilledSet, its name and a
``labelling.Labelling`` that returns the labelled set and the files beside it: (tensors, record) by name. If labels take
long, ``jobs`` returns the jobs of its ``store`` that must be finished first.
"""

from types import ModuleType

from distillation.runtime import variants
from distillation.runtime.errors import BadInput


def names() -> list[str]:
    """Lists the kinds."""
    return variants.names(__name__)


def load(name: str) -> ModuleType:
    """Returns the module of a kind.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in names():
        raise BadInput(f"relabel.kind is {name!r}, but it can be {', '.join(names())}.")
    return variants.load(__name__, name)
