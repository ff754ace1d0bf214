"""Checks of params.yaml, made before anything is removed or trained: a file for each of its sections."""

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

    Returns:
        The settings of every pool by its name.

    Raises:
        BadInput: the first value in ``params`` that could not work.
    """
    only(params.values, SECTIONS, "params.yaml")
    params.section("compute", Compute)
    shape = dataset.check(params)
    pools = teacher.check(params)
    method.check(params, shape, pools)
    relabel.check(params, shape, pools)
    evaluate.check(params, shape, pools)
    return pools
