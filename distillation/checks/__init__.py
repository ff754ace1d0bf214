"""Checks of params.yaml, made before anything is removed or trained: a file for each of its sections.

The stage check, ``api``, the commands recipes and doctor, and tests call them. A check raises BadInput with one
sentence, or returns what later checks need. What only files tell (shapes and classes of an imagefolder, say) is left to
the stage that reads them.
"""

from distillation.checks import dataset, evaluate, method, relabel, teacher
from distillation.checks.notes import SIZED_FOR_DIGITS, notes
from distillation.checks.sections import only
from distillation.checks.teacher import Pools
from distillation.checks.workspace import copy_notes, file_notes
from distillation.params import Compute, Params

__all__ = ["SIZED_FOR_DIGITS", "check_all", "copy_notes", "file_notes", "notes"]
_DATA, _TEACHERS = ("dataset", "sources", "targets"), ("teacher", "pool", "objectives")
SECTIONS = (*_DATA, *_TEACHERS, "method", "relabel", "evaluate", "compute")


def check_all(params: Params) -> Pools:
    """Checks all that does not depend on the machine; see ``resources`` for that.

    Args:
        params: the parameters; every section must be there, and no other.

    Returns:
        The settings of every pool by its name.

    Raises:
        BadInput: a value in ``params`` could not work; the sentence names its key. Only the first is reported.
    """
    only(params.values, SECTIONS, "params.yaml")
    params.section("compute", Compute)
    # in this order, since each check relies on the sections that were checked before it
    shape = dataset.check(params)
    pools = teacher.check(params)
    method.check(params, shape, pools)
    relabel.check(params, shape, pools)
    evaluate.check(params, shape, pools)
    return pools
