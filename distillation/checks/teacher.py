"""Checks of the sections teacher, pool and objectives."""

from collections.abc import Collection

from distillation.checks.dataset import check_network, settings_of, shape_of
from distillation.checks.sections import mapping, names, only
from distillation.datasets.catalogue import CATALOGUE
from distillation.networks.names import embeds
from distillation.params import Params, validate
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.teachers.selfsupervised.settings import Pretraining
from distillation.teachers.settings import PoolDefaults, PoolSettings, pool_settings, section_of

Pools = dict[str, PoolSettings]


def check(params: Params) -> Pools:
    """Checks the sections teacher, pool and objectives; those of datasets were checked before.

    Returns:
        The settings of every pool by its name.

    Raises:
        BadInput: a key or value is wrong, or a network does not fit the images of the pool's source.
    """
    params.section("pool", PoolDefaults)
    only(mapping(params, "objectives"), objectives.names(), "objectives")
    for name in objectives.names():
        params.section(f"objectives.{name}", objectives.load(name).settings)
    pools = {name: pool_settings(params, name) for name in names(params, "teacher")}
    for name, pool in pools.items():
        _unused(params, name)
        _source(params, f"teacher.{name}.source", pool)
        _enough_images(params, name, pool)
        for network in objectives.load(pool.objective).words(pool):
            check_network(f"teacher.{name}.networks", network, shape_of(settings_of(params, pool.source)))
    return pools


def _enough_images(params: Params, name: str, pool: PoolSettings) -> None:
    """Checks a self-supervised pool against its source.

    Raises:
        BadInput: it needs more images than the source has, or small views of images that are whitened.
    """
    training, source = pool.training, settings_of(params, pool.source)
    if not isinstance(training, Pretraining):
        return
    path, values = f"teacher.{name}.{pool.objective}", training.model_dump()
    for key, value in (("batch", training.batch), ("knn.k", values["knn"]["k"])):
        if (count := CATALOGUE[source.name].images) and value > count:
            raise BadInput(f"{path}.{key} is {value}, but {pool.source} has {count} training images.")
    if source.zca and values.get("locals"):
        raise BadInput(
            f"{path}.locals is {values['locals']}, but {pool.source} is whitened, which takes whole images: set it to 0."
        )


def _unused(params: Params, pool: str) -> None:
    """Checks the settings that a pool has for objectives other than its own: they change nothing, but must be valid."""
    for name in objectives.names():
        if name in params.value(f"teacher.{pool}"):
            validate(objectives.load(name).settings, section_of(params, pool, name), f"teacher.{pool}.{name}")


def _source(params: Params, path: str, pool: PoolSettings) -> None:
    """Raises BadInput if a pool's source, the value at ``path``, is no section of params.yaml."""
    group, _, name = pool.source.partition("/")
    if name and name not in mapping(params, group):
        sources = ", ".join(["dataset", *(f"{g}/{k}" for g in ("sources", "targets") for k in mapping(params, g))])
        raise BadInput(f"{path} is {pool.source!r}, but there are only {sources}.")


def check_pool(path: str, name: str, pools: Collection[str]) -> None:
    """Raises BadInput if ``name``, the value at ``path``, names no pool."""
    if name not in pools:
        raise BadInput(f"{path} is {name!r}, but the pools of the section teacher are {', '.join(pools)}.")


def require_features(pool: PoolSettings, path: str) -> None:
    """Raises BadInput if the first network of a pool certainly has no features.

    Names of networks of a library tell nothing, so these pass.

    Args:
        pool: its settings.
        path: beginning of the sentence: the setting and its value, as in ``relabel.teacher is 'main'``.
    """
    first = pool.networks[0]
    if first in objectives.load(pool.objective).words(pool) and not embeds(first):
        raise BadInput(f"{path}, whose first network is {first}, which has no features: choose a ConvNet or ResNet.")


def classifies(params: Params, pool: PoolSettings) -> bool:
    """Whether a pool's teachers may predict the classes of the dataset; False only if they certainly do not."""
    return objectives.load(pool.objective).classifies(pool) and _may_share_classes(params, pool.source)


def _may_share_classes(params: Params, source: str) -> bool:
    """Whether the classes of the source may be those of the dataset; False only if they certainly differ."""
    dataset_name, source_name = (settings_of(params, each).name for each in ("dataset", source))
    classes = [(CATALOGUE[name].count, CATALOGUE[name].classes) for name in (dataset_name, source_name)]
    return dataset_name == source_name or all(not a or not b or a == b for a, b in zip(*classes, strict=True))
