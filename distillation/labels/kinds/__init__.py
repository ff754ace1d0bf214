"""One file per kind of labels for distilled images; ``relabel.kind`` picks one by its file name.

A kind's file defines

- ``Settings``: its section of params.yaml;
- ``label(distilled, name, labelling)``, but for ``keep``: a function of a DistilledSet, the name of its file and a
  ``labelling.Labelling``. It returns the labelled set, and tensors and record of each file beside it by that file's
  name. It is called for the set, and for its control;
- ``jobs`` and ``store``, only if labels take long: ``jobs`` returns the jobs, by label, whose work is ``store``. They
  are finished before ``label`` is called, see ``fkd``.
"""

from types import ModuleType

from distillation.runtime import variants
from distillation.runtime.errors import BadInput


def names() -> list[str]:
    """Lists the names of the kinds."""
    return variants.names(__name__)


def load(name: str) -> ModuleType:
    """Returns the module of a kind.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in names():
        raise BadInput(f"relabel.kind is {name!r}, but it can be {', '.join(names())}.")
    return variants.load(__name__, name)
