"""Checks of the section method."""

from distillation import methods
from distillation.checks.dataset import Shape, check_network, described, differ, settings_of, shape_of
from distillation.checks.sections import mapping, only
from distillation.checks.teacher import Pools, check_pool, classifies, require_features
from distillation.datasets.catalogue import CATALOGUE, facts
from distillation.methods.base import Common, Method, check_guided, of_a_shard
from distillation.networks.names import embeds, parse
from distillation.params import Params, Section
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.teachers.settings import PoolSettings


def check(params: Params, shape: Shape, pools: Pools) -> None:
    """Checks the section method.

    Args:
        params: the parameters, whose sections of datasets and teachers were checked.
        shape: shape of the dataset's images.
        pools: settings of every pool by its name.

    Raises:
        BadInput: a key or value is wrong, or the method cannot work on such images or with its pools.
    """
    common, settings = _settings(params)
    method = methods.load(common.name).METHOD
    _, shard_common = of_a_shard(method, common, settings)
    native = facts(params.value("dataset.name"))
    method.check(shard_common, settings, native.classes if native else None)
    _enough(common, params.value("dataset.name"))
    if total := CATALOGUE[params.value("dataset.name")].images:
        method.check_images(common, settings, total)
    check_guided(method, common)
    for path, pool in {"method.teacher": common.teacher, "method.guidance.teacher": common.guidance.teacher}.items():
        check_pool(path, pool, pools)
    method.check_teachers(common, settings, pools[common.teacher])
    if method.matches_features and not embeds(common.network):
        raise BadInput(f"method.network is {common.network}, which has no features that {common.name} could match.")
    _teacher(params, method, common, settings, pools[common.teacher])
    if common.guided:
        _guidance(params, common, shape, pools[common.guidance.teacher])
    check_network("method.network", common.network, shape)


def _settings(params: Params) -> tuple[Common, Section]:
    """The common keys and the section of the chosen method; the sections of the other methods are checked, too."""
    names = methods.names()
    only(mapping(params, "method"), [*Common.model_fields, *names], "method")
    common = params.fields("method", Common)
    for name in names:
        params.section(f"method.{name}", methods.load(name).Settings)
    return common, params.section(f"method.{common.name}", methods.load(common.name).Settings)


def _enough(common: Common, dataset: str) -> None:
    """Raises BadInput if a class of a published dataset has too few images; the stage enough checks all datasets."""
    entry = CATALOGUE[dataset]
    if (most := entry.smallest_class) and common.ipc > most:
        raise BadInput(
            f"method.ipc is {common.ipc}, but {dataset} has {entry.images:,} training images of {entry.count} classes: set "
            f"it to {most} or less."
        )


def _teacher(params: Params, method: type[Method], common: Common, settings: Section, pool: PoolSettings) -> None:
    """Raises BadInput if the teachers lack something that the method itself needs."""
    if method.needs_logits or method.reads_batch_norms:
        _knows_classes(params, common, pool)
    if method.needs_logits:
        _same_whitening(params, common, pool)
    if method.reads_batch_norms:
        _batch_norms(common, pool)
    elif not method.needs_logits and method.reads_teachers(settings):
        require_features(pool, f"method.teacher is {common.teacher!r}")


def _knows_classes(params: Params, common: Common, pool: PoolSettings) -> None:
    """Raises BadInput if the teachers certainly do not predict the classes of the dataset."""
    if not classifies(params, pool):
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose networks do not know the classes of the dataset, but {common.name} "
            "asks for each image's class."
        )


def _same_whitening(params: Params, common: Common, pool: PoolSettings) -> None:
    """Raises BadInput if only one of dataset and source of the teachers is whitened."""
    if settings_of(params, pool.source).zca != params.value("dataset.zca"):
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose source, {pool.source}, has another zca than the dataset: "
            f"{common.name} asks for teachers that take the images as they are."
        )


def _batch_norms(common: Common, pool: PoolSettings) -> None:
    """Raises BadInput if the first network has no batch norms; only the names of our own networks tell."""
    objective, first = objectives.load(pool.objective), pool.networks[0]
    if first in objective.words(pool) and parse(first).norm != "BN":
        raise BadInput(
            f"method.teacher is {common.teacher!r}, whose first network is {first}, but {common.name} reads batch norms: "
            "choose a network that has them, such as ResNet18BN."
        )


def _guidance(params: Params, common: Common, shape: Shape, pool: PoolSettings) -> None:
    """Raises BadInput if the teachers of ``pool`` cannot guide, as far as this is known before they are trained."""
    _weights(common, pool)
    _checkpoint(common, pool)
    _distance(params, common, pool)
    input_shape = objectives.load(pool.objective).shape(pool, shape_of(settings_of(params, pool.source)))
    if not common.guidance.adapt and differ(shape, input_shape):
        raise BadInput(
            f"the teachers of {common.guidance.teacher} take images of {described(input_shape)}, but those of the dataset have "
            f"{described(shape)}: method.guidance.adapt true adapts them."
        )


def _weights(common: Common, pool: PoolSettings) -> None:
    """Raises BadInput if weights by network do not name exactly the networks of the pool."""
    if isinstance(common.alpha, dict) and (unknown := common.alpha.keys() ^ set(pool.networks)):
        raise BadInput(
            f"method.alpha and teacher.{common.guidance.teacher}.networks must name the same networks; "
            f"{sorted(unknown)[0]} is on one side only."
        )


def _checkpoint(common: Common, pool: PoolSettings) -> None:
    """Raises BadInput if guidance uses an epoch at which the pool keeps no weights."""
    if str(common.guidance.epoch) not in ("any", *map(str, pool.keep)):
        epochs = ", ".join(map(str, pool.keep))
        raise BadInput(
            f"method.guidance.epoch is {common.guidance.epoch}, but teacher.{common.guidance.teacher}.keep is {epochs}: name "
            "one of them, or any."
        )


def _distance(params: Params, common: Common, pool: PoolSettings) -> None:
    """Raises BadInput if the teachers lack the classes, or the features, that the distance of guidance compares."""
    settings = common.guidance
    if settings.distance != "cos" and not classifies(params, pool):
        raise BadInput(
            f"method.guidance.distance is {settings.distance}, but the teachers of {settings.teacher} do not know the "
            "classes of the dataset: choose cos, or another method.guidance.teacher."
        )
    words = objectives.load(pool.objective).words(pool)
    if settings.distance == "cos" and (bare := [word for word in words if not embeds(word)]):
        raise BadInput(f"method.guidance.distance is cos, but the teacher {bare[0]} has no features.")
