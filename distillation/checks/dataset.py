"""Checks of the sections dataset, sources and targets."""

from distillation.checks.sections import names
from distillation.datasets.catalogue import facts
from distillation.datasets.settings import DatasetSettings, SourceSettings, check_content, statistics_of
from distillation.networks import names as networks
from distillation.params import Params
from distillation.runtime.errors import BadInput

Shape = tuple[int | None, int | None]  # channels, and pixels of a side; None if only the files determine it


def check(params: Params) -> Shape:
    """Checks the sections dataset, sources and targets.

    Returns:
        The shape of the images of ``dataset``, as far as it is known before its files are read.

    Raises:
        BadInput: a section has a wrong key or value, or statistics that do not fit its images.
    """
    settings = params.section("dataset", DatasetSettings)
    _check_statistics("dataset", settings)
    for section in ("sources", "targets"):
        for name in names(params, section):
            source = params.section(f"{section}.{name}", SourceSettings)
            check_content(source, f"{section}.{name}")
            _check_statistics(f"{section}.{name}", source)
    return shape_of(settings)


def _check_statistics(path: str, settings: DatasetSettings) -> None:
    """Raises BadInput if ``stats`` does not fit the images, as far as their shape is known."""
    channels, size = shape_of(settings)
    if channels and size and not settings.zca:
        try:
            statistics_of(settings, channels, size)
        except BadInput as error:
            raise BadInput(f"{path}.{error}") from error


def shape_of(settings: DatasetSettings) -> Shape:
    """The channels and pixels of a dataset's images, by its settings or else by the catalogue; None where unknown."""
    native = facts(settings.name)
    channels = {"rgb": 3, "grey": 1, "auto": native.channels if native else None}[settings.colour]
    return channels, settings.pixels or (native.size if native else None)


def settings_of(params: Params, source: str) -> DatasetSettings:
    """The settings of a dataset.

    Args:
        params: the parameters.
        source: ``dataset``, ``sources/NAME`` or ``targets/NAME``, as ``teacher.<POOL>.source`` spells it.

    Raises:
        BadInput: there is no such section, or it is wrong.
    """
    group, _, name = source.partition("/")
    return params.section(f"{group}.{name}", SourceSettings) if name else params.section("dataset", DatasetSettings)


def differ(one: Shape, other: Shape) -> bool:
    """Whether two shapes certainly differ; None in either one is no difference."""
    return any(None not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True))


def described(shape: Shape) -> str:
    """What is known of a shape in words, like ``3 channels of 32 px``; empty if nothing is."""
    channels, size = shape
    known = [f"{channels} channel{'s' * (channels != 1)}"] if channels else []
    return " of ".join([*known, *([f"{size} px"] if size else [])])


def check_network(path: str, network: str, shape: Shape) -> None:
    """Raises BadInput if a network is unknown or does not fit the images, as far as their shape is known.

    Args:
        path: dotted path of the setting that names the network, for the sentence.
        network: network name.
        shape: shape of the images. If a part of it is unknown, only the grammar of the name is checked.
    """
    channels, size = shape
    try:
        channels, size = shape
        if channels is None or size is None:
            networks.parse(network)
        else:
            networks.check(network, channels, size)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
