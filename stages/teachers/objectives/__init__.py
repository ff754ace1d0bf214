"""One file per objective: a way in which a pool's teachers come to be.

An objective's file defines ``OBJECTIVE`` (see ``stages.teachers.job.Objective``): its section of params.yaml, and the
function that makes one teacher.
"""

import importlib
from pathlib import Path

from stages.runtime.errors import BadInput


def names():
    """Every objective there is."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py"))


def load(name):
    """The Objective of a name. Raises BadInput where there is none."""
    if name not in names():
        raise BadInput(f"a teacher's objective is {name!r}, but the objectives are {', '.join(names())}.")
    return importlib.import_module(f"stages.teachers.objectives.{name}").OBJECTIVE
