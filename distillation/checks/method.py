"""The section method."""

from distillation import methods
from distillation.checks.dataset import Shape, check_network, differ, settings_of, shape_of
from distillation.checks.sections import mapping, only
from distillation.checks.teacher import Pools, check_pool, classifies
from distillation.datasets.catalogue import facts
from distillation.methods.base import Common, Method, check_guided, of_a_shard
from distillation.networks.names import embeds, parse
from distillation.params import Params, Section
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.teachers.settings import PoolSettings


def check(params: Params, shape: Shape, pools: Pools) -> None:
    """Raise BadInput where the method cannot work on images of a ``shape`` or with its ``pools``."""
    common, settings = _settings(params)
    chosen = methods.load(common.name).METHOD
    _, share = of_a_shard(chosen, common, settings)
    known = facts(params.value("dataset.name"))
    chosen.check(share, settings, known.classes if known else None)
    check_guided(chosen, common)
    for path, pool in {"method.teacher": common.teacher, "method.guidance.teacher": common.guidance.teacher}.items():
        check_pool(path, pool, pools)
    chosen.check_teachers(common, settings, pools[common.teacher])
    if chosen.matches_features and not embeds(common.network):
        raise BadInput(f"method.network is {common.network}, which has no features that {common.name} could match.")
    _teacher(params, chosen, common, pools[common.teacher])
    if common.guided:
        _guidance(params, common, shape, pools[common.guidance.teacher])
    check_network("method.network", common.network, shape)


def _settings(params: Params) -> tuple[Common, Section]:
    """The common keys and the section of the chosen method; the sections of others must be sound too."""
    names = methods.names()
    only(mapping(params, "method"), [*Common.model_fields, *names], "method")
    common = params.fields("method", Common)
    for name in names:
        params.section(f"method.{name}", methods.load(name).Settings)
    return common, params.section(f"method.{common.name}", methods.load(common.name).Settings)


def _teacher(params: Params, chosen: type[Method], common: Common, pool: PoolSettings) -> None:
    """What the teachers must be that the method itself needs."""
    if chosen.needs_logits or chosen.reads_batch_norms:
        _knows_classes(params, common, pool)
    if chosen.needs_logits:
        _same_whitening(params, common, pool)
    if chosen.reads_batch_norms:
        _batch_norms(common, pool)


def _knows_classes(params: Params, common: Common, pool: PoolSettings) -> None:
    if not classifies(params, pool):
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose networks do not know the classes of the dataset, but {common.name} "
            "asks for each image's class."
        )


def _same_whitening(params: Params, common: Common, pool: PoolSettings) -> None:
    if settings_of(params, pool.source).zca != params.value("dataset.zca"):
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose source, {pool.source}, has another zca than the dataset: "
            f"{common.name} asks for teachers that take the images as they are."
        )


def _batch_norms(common: Common, pool: PoolSettings) -> None:
    """Only the names of our own networks say whether they have batch norms."""
    objective, first = objectives.load(pool.objective), pool.networks[0]
    if first in objective.words(pool) and parse(first).norm != "BN":
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose first network is {first}, but {common.name} reads batch norms: "
            "choose a network that has them, such as ResNet18BN."
        )


def _guidance(params: Params, common: Common, shape: Shape, pool: PoolSettings) -> None:
    """What the teachers of ``pool`` must be to guide, as far as it is known before they are made."""
    _weights(common, pool)
    _kept(common, pool)
    _distance(params, common, pool)
    theirs = objectives.load(pool.objective).shape(pool, shape_of(settings_of(params, pool.source)))
    if not common.guidance.adapt and differ(shape, theirs):
        raise BadInput(
            f"the teachers of {common.guidance.teacher} take {theirs[0]} channels of {theirs[1]} px, but the images of the "
            f"dataset are {shape[0]} of {shape[1]} px: method.guidance.adapt true adapts them."
        )


def _weights(common: Common, pool: PoolSettings) -> None:
    if isinstance(common.alpha, dict) and (unknown := common.alpha.keys() ^ set(pool.networks)):
        raise BadInput(
            f"method.alpha and teacher.{common.guidance.teacher}.networks must name the same networks; "
            f"{sorted(unknown)[0]} is on one side only."
        )


def _kept(common: Common, pool: PoolSettings) -> None:
    if str(common.guidance.epoch) not in ("any", *map(str, pool.keep)):
        kept = ", ".join(map(str, pool.keep))
        raise BadInput(
            f"method.guidance.epoch is {common.guidance.epoch}, but teacher.{common.guidance.teacher}.keep is {kept}: name "
            "one of them, or any."
        )


def _distance(params: Params, common: Common, pool: PoolSettings) -> None:
    settings = common.guidance
    if settings.distance != "cos" and not classifies(params, pool):
        raise BadInput(
            f"method.guidance.distance is {settings.distance}, but the teachers of {settings.teacher} do not know the "
            "classes of the dataset: choose cos, or another method.guidance.teacher."
        )
    words = objectives.load(pool.objective).words(pool)
    if settings.distance == "cos" and (bare := [word for word in words if not embeds(word)]):
        raise BadInput(f"method.guidance.distance is cos, but the teacher {bare[0]} has no features.")
