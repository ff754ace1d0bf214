"""One file per distillation method, named as in ``method.name``: a new file is a new method, no list has to be edited.

A method's file defines ``Settings`` (its section ``method.NAME`` of params.yaml) and ``METHOD`` (its class, a subclass
of ``base.Method``). What several methods share is in ``families``, what all share in the modules of ``FRAME``.
"""

from types import ModuleType

from distillation.runtime import variants
from distillation.runtime.errors import BadInput

FRAME = (
    "base",
    "cost",
    "driver",
    "guidance",
    "work",
)  # modules that all methods share, which are no methods themselves


def names() -> list[str]:
    """Lists the names of the methods, sorted."""
    return variants.names(__name__, FRAME)


def load(name: str) -> ModuleType:
    """Imports and returns the module of the method ``name``, with its ``Settings`` and ``METHOD``.

    Raises:
        BadInput: there is none of that name; the message lists all.
    """
    if name not in names():
        raise BadInput(f"method.name is {name!r}, but the methods are {', '.join(names())}.")
    return variants.load(__name__, name)
