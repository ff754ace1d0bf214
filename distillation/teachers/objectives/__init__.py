"""One module for each objective, a way to make the teachers of a pool.

A module defines ``OBJECTIVE`` (see ``distillation.teachers.objective.Objective``): the schema of its section of
params.yaml, and the function that makes one teacher. A new module here is found by its name; nothing registers it.
"""

from typing import TYPE_CHECKING

from distillation.runtime import variants
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from distillation.teachers.objective import Objective


def names() -> list[str]:
    """Lists the names of the objectives, such as ``supervised``, without importing their modules."""
    return variants.names(__name__)


def load(name: str) -> "Objective":
    """Imports the module of an objective and returns its Objective.

    Raises:
        BadInput: there is no objective of this name; the sentence lists all.
    """
    if name not in names():
        raise BadInput(f"a teacher's objective is {name!r}, but the objectives are {', '.join(names())}.")
    return variants.load(__name__, name).OBJECTIVE
