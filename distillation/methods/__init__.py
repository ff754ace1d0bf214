"""One file per distillation method.

A method's file defines ``Settings`` (its section of params.yaml) and ``METHOD`` (its class, see ``base.Method``).
"""

from types import ModuleType

from distillation.runtime import variants
from distillation.runtime.errors import BadInput

FRAME = ("base", "cost", "driver", "guidance", "work")  # what all methods share


def names() -> list[str]:
    """Every method there is."""
    return variants.names(__name__, FRAME)


def load(name: str) -> ModuleType:
    """The module of a method. Raises BadInput where there is none."""
    if name not in names():
        raise BadInput(f"method.name is {name!r}, but the methods are {', '.join(names())}.")
    return variants.load(__name__, name)
