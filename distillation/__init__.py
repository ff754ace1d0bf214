"""Dataset distillation: every method behind one contract, one evaluation, and work that survives a kill.

For a notebook, ``from distillation import load_params, load_dataset, make_pool, distill, evaluate, plot``:
see ``distillation.api`` and docs/notebook.md.
"""

import importlib
import os

# OpenMP's threads spin while they wait, which small networks do between any two operations: beside other work a student of
# the default then made 16 steps a second where waiting threads made 118. torch reads this when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_API = ("DistilledSet", "Pool", "RealSet", "distill", "evaluate", "load_dataset", "load_params", "make_pool", "plot")


def __getattr__(name: str) -> object:
    """Loads the API when it is first used: stages, which import this package too, do without it."""
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("distillation.api"), name)
