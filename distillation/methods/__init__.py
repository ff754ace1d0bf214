"""One file per distillation method.

A method's file defines ``Settings`` (its section of params.yaml) and ``METHOD`` (its class, see ``base.Method``).
"""

from types import ModuleType

from distillation.runtime import variants
from distillation.runtime.errors import BadInput

FRAME = ("base", "cost", "driver", "guidance", "work")  # what all methods share


def names() -> list[str]:
    """Lists the methods."""
    return variants.names(__name__, FRAME)


def load(name: str) -> ModuleType:
    """Returns the module of a method.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in names():
        raise BadInput(f"method.name is {name!r}, but the methods are {', '.join(names())}.")
    return variants.load(__name__, name)
