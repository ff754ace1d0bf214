"""The section relabel."""

from distillation.checks.sections import mapping, only
from distillation.checks.teacher import Pools, check_pool
from distillation.labels.settings import KINDS, RelabelCommon
from distillation.params import Params


def check(params: Params, pools: Pools) -> None:
    """Raise BadInput where the section is not sound."""
    only(mapping(params, "relabel"), [*RelabelCommon.model_fields, *KINDS], "relabel")
    common = params.fields("relabel", RelabelCommon)
    for kind, schema in KINDS.items():
        params.section(f"relabel.{kind}", schema)
    check_pool("relabel.teacher", common.teacher, pools)
