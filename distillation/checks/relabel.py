"""Checks of the section relabel."""

from distillation.checks.dataset import Shape, described, differ, settings_of, shape_of
from distillation.checks.sections import mapping, only
from distillation.checks.teacher import Pools, check_pool, classifies, require_features
from distillation.labels import kinds
from distillation.labels.settings import RelabelCommon
from distillation.params import Params
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.teachers.settings import PoolSettings


def check(params: Params, shape: Shape, pools: Pools) -> None:
    """Checks the section relabel.

    Args:
        params: the parameters, whose sections of datasets and teachers were checked.
        shape: shape of the dataset's images.
        pools: settings of every pool by its name.

    Raises:
        BadInput: a key or value is wrong, or the pool cannot give such labels to such images.
    """
    only(mapping(params, "relabel"), [*RelabelCommon.model_fields, *kinds.names()], "relabel")
    common = params.fields("relabel", RelabelCommon)
    for kind in kinds.names():
        params.section(f"relabel.{kind}", kinds.load(kind).Settings)
    check_pool("relabel.teacher", common.teacher, pools)
    if common.kind != "keep":
        _labels(params, common, shape, pools[common.teacher])


def _labels(params: Params, common: RelabelCommon, shape: Shape, pool: PoolSettings) -> None:
    """Raises BadInput if the pool certainly lacks the classes, the features or the inputs that labelling needs."""
    objective, path = objectives.load(pool.objective), f"relabel.teacher is {common.teacher!r}"
    if common.kind == "features":
        require_features(pool, path)
    elif not classifies(params, pool):
        raise BadInput(
            f"{path}, whose networks do not know the classes of the dataset, but relabel.kind {common.kind} needs them: "
            "choose another pool, or keep or features."
        )
    inputs = objective.shape(pool, shape_of(settings_of(params, pool.source)))
    if differ(shape, inputs):
        raise BadInput(
            f"{path}, which takes images of {described(inputs)}, but those of the dataset have {described(shape)}."
        )
