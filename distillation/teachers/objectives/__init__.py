"""One file per objective: a way to train or obtain the teachers of a pool.

An objective's file defines ``OBJECTIVE`` (see ``distillation.teachers.objective.Objective``): its section of params.yaml,
and the function that trains one teacher.
"""

from typing import TYPE_CHECKING

from distillation.runtime import variants
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from distillation.teachers.objective import Objective


def names() -> list[str]:
    """Lists the objectives."""
    return variants.names(__name__)


def load(name: str) -> "Objective":
    """Returns the Objective of a name.

    Raises:
        BadInput: there is none.
    """
    if name not in names():
        raise BadInput(f"a teacher's objective is {name!r}, but the objectives are {', '.join(names())}.")
    return variants.load(__name__, name).OBJECTIVE
