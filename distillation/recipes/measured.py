"""Results that measure a row of a recipe, and the distance of a mean from the claimed one."""

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
    """A mean accuracy over sets and networks in percent, and its spread.

    Attributes:
        mean: percent.
        sets: number of sets.
        networks: number of networks trained on each set.
        between_sets: standard deviation of the sets' true means: that of the measured means less the networks' part; None
            for one set.
        between_networks: standard deviation of networks on one set; None for one network.
    """

    mean: float
    sets: int
    networks: int
    between_sets: float | None
    between_networks: float | None


def of_row(row: "Row", results: "Sequence[Result]") -> "dict[str, dict[int, Result]]":
    """Finds the results that measure a row.

    Args:
        row: the row.
        results: in the order in which they are preferred: of several with one seed, the first counts.

    Returns:
        Results by scale (``published``, ``quick``), then by ``method.seed``. A scale without a result is left out.
    """
    by_scale = {}
    for scale, settings in ((PUBLISHED, row.settings), (QUICK, quick(row.settings))):
        # without the seed, which tells the sets of one row apart
        target = flat({path: value for path, value in settings.items() if path != _SEED})
        paths = metrics(row.recipe, settings)
        for result in results:
            has_metric = any(f"{path}.mean" in result.metrics for path in paths)
            if has_metric and result.reproduced and matches(target, result.params):
                by_scale.setdefault(scale, {}).setdefault(result.params[_SEED], result)
    return by_scale


def matches(settings: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    """Whether the parameters of a result are those of a row.

    Args:
        settings: of the row, by dotted path.
        params: of the result, by dotted path. Pools may be written differently if they amount to the same; a further pool,
            source, target or weight is a difference.
    """
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
    """The merged settings of every pool by dotted path, whichever section they come from."""
    values = Params(nested(settings))
    return {name: flat(merged(values, name)) for name in values.value("teacher")}


def _same_pools(expected: Mapping[str, Any], pools: Mapping[str, Any]) -> bool:
    """Whether pools have all ``expected`` settings; no row names their arithmetic, which may differ."""
    return expected.keys() == pools.keys() and all(
        path in pools[name] and pools[name][path] == value
        for name, pool in expected.items()
        for path, value in pool.items()
    )


def measurement_of(results: "Sequence[Result]", metric: str) -> Measurement | None:
    """Joins the results of a row into a mean and its spread between sets and between networks.

    Args:
        results: of one row and scale: they differ in ``method.seed`` alone.
        metric: path of the accuracy in reports/metrics.json, without ``.mean``.

    Returns:
        The Measurement; None if no result has the metric.
    """
    relevant = [result for result in results if f"{metric}.mean" in result.metrics]
    if not relevant:
        return None
    means = [result.metrics[f"{metric}.mean"] for result in relevant]
    networks = relevant[0].params["evaluate.seeds"]
    # a result holds the population variance over its networks: n / (n - 1) makes it the sample variance
    within = _mean([result.metrics[f"{metric}.std"] ** 2 for result in relevant]) * networks / max(networks - 1, 1)
    # means of sets vary by their networks, too: that part is taken off, and what is left may come out below 0
    between = max(0.0, _variance(means) - within / networks) if len(means) > 1 else None
    return Measurement(
        _mean(means),
        len(means),
        networks,
        None if between is None else math.sqrt(between),
        math.sqrt(within) if networks > 1 else None,
    )


def z_score(claim: "Claim", measurement: Measurement) -> float | None:
    """Difference from a claimed mean divided by its standard error.

    The claim's published standard deviation covers all networks of all sets. It is split between sets and networks in the
    proportion that was measured, so that few sets do not pass for many networks.

    Returns:
        The z-score; None if the claim has no spread or no counts, or if fewer than two sets or networks are measured.
    """
    if claim.std is None or claim.sets is None or claim.networks is None:
        return None
    if measurement.between_sets is None or measurement.between_networks is None:
        return None
    between, within = measurement.between_sets**2, measurement.between_networks**2
    # the spread of a claim over one set is that of networks; its variance between sets is taken to be the measured one
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
