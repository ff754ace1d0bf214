"""Checks of the section relabel."""

from distillation.checks.sections import mapping, only
from distillation.checks.teacher import Pools, check_pool
from distillation.labels import kinds
from distillation.labels.settings import RelabelCommon
from distillation.params import Params


def check(params: Params, pools: Pools) -> None:
    """Raises BadInput if the section is wrong."""
    only(mapping(params, "relabel"), [*RelabelCommon.model_fields, *kinds.names()], "relabel")
    common = params.fields("relabel", RelabelCommon)
    for kind in kinds.names():
        params.section(f"relabel.{kind}", kinds.load(kind).Settings)
    check_pool("relabel.teacher", common.teacher, pools)
