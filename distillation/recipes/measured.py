"""Which results are measurements of a row, and how far a mean is from the claimed one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distillation.params import Params
from distillation.recipes.overlay import quick
from distillation.recipes.results import flat, nested
from distillation.recipes.rows import metrics
from distillation.runtime.errors import BadInput
from distillation.teachers.settings import merged

if TYPE_CHECKING:
    from distillation.recipes.results import Result
    from distillation.recipes.rows import Claim, Row

PUBLISHED, QUICK = "published", "quick"
_SEED = "method.seed"
_OPEN = ("sources.", "targets.", "method.alpha.")  # maps in which a further entry is another setting
_POOLS = ("teacher.", "pool.", "objectives.")


@dataclass(frozen=True)
class Measurement:
    """The mean over sets and networks in percent, and what it varies by.

    Attributes:
        sets, networks: how many sets, and how many networks on each.
        between_sets: standard deviation of the sets' true means (what that of the measured means is beyond the
            networks' share); None for one set.
        between_networks: standard deviation of networks on one set; None for one network.
    """

    mean: float
    sets: int
    networks: int
    between_sets: float | None
    between_networks: float | None


def of_row(row: "Row", results: "Sequence[Result]") -> "dict[str, dict[int, Result]]":
    """Scale (``published``, ``quick``) to seed to the first Result that measures the row: its settings and its metrics."""
    by_scale = {}
    for scale, settings in ((PUBLISHED, row.settings), (QUICK, quick(row.settings))):
        target = flat({path: value for path, value in settings.items() if path != _SEED})
        paths = metrics(row.recipe, settings)
        for result in results:
            has_metric = any(f"{path}.mean" in result.metrics for path in paths)
            if has_metric and result.reproduced and matches(target, result.params):
                by_scale.setdefault(scale, {}).setdefault(result.params[_SEED], result)
    return by_scale


def matches(settings: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    """Whether ``params`` (by dotted path) has the settings ``settings``, pools that amount to the same, and no other pool,
    source, target or weight beside."""
    for path, value in settings.items():
        if not path.startswith(_POOLS) and (path not in params or params[path] != value):
            return False
    if any(path.startswith(_OPEN) and path not in settings for path in params):
        return False
    try:
        return _same_pools(_pools(settings), _pools(params))
    except BadInput:  # a revision whose pools are none
        return False


def _pools(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Pool to what it amounts to, by dotted path, wherever its values stand."""
    values = Params(nested(settings))
    return {name: flat(merged(values, name)) for name in values.value("teacher")}


def _same_pools(expected: Mapping[str, Any], pools: Mapping[str, Any]) -> bool:
    """Whether pools have all that is wanted of them: not their arithmetic, which no row names."""
    return expected.keys() == pools.keys() and all(
        path in pools[name] and pools[name][path] == value
        for name, pool in expected.items()
        for path, value in pool.items()
    )


def measurement_of(results: "Sequence[Result]", metric: str) -> Measurement | None:
    """The Measured of ``metric`` over results that differ in their set only; None where none has it."""
    relevant = [result for result in results if f"{metric}.mean" in result.metrics]
    if not relevant:
        return None
    means = [result.metrics[f"{metric}.mean"] for result in relevant]
    networks = relevant[0].params["evaluate.seeds"]
    within = _mean([result.metrics[f"{metric}.std"] ** 2 for result in relevant]) * networks / max(networks - 1, 1)
    between = max(0.0, _variance(means) - within / networks) if len(means) > 1 else None
    return Measurement(
        _mean(means),
        len(means),
        networks,
        None if between is None else math.sqrt(between),
        math.sqrt(within) if networks > 1 else None,
    )


def z_score(claim: "Claim", measurement: Measurement) -> float | None:
    """The difference from a claimed mean in its standard errors; None where the claim states no spread or numbers, or
    fewer than two sets or networks are measured.

    A published standard deviation is one of all networks of all sets; it is shared out as the measured one is, so that
    few sets do not pass for many networks.
    """
    if claim.std is None or claim.sets is None or claim.networks is None:
        return None
    if measurement.between_sets is None or measurement.between_networks is None:
        return None
    between, within = measurement.between_sets**2, measurement.between_networks**2
    between_fraction = between / (between + within) if claim.sets > 1 and between + within else 0.0
    claimed_between = between_fraction * claim.std**2 if claim.sets > 1 else between
    variance = claimed_between / claim.sets + (1 - between_fraction) * claim.std**2 / (claim.sets * claim.networks)
    variance += between / measurement.sets + within / (measurement.sets * measurement.networks)
    return (measurement.mean - claim.mean) / math.sqrt(variance) if variance else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
