"""Table of the results that papers claim and those measured here, row by row of their tables."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from distillation.compare.section import Section
from distillation.recipes import rows
from distillation.recipes.measured import PUBLISHED, measurement_of, of_row, z_score
from distillation.recipes.overlay import quick

if TYPE_CHECKING:
    from distillation.recipes.measured import Measurement
    from distillation.recipes.results import Result
    from distillation.recipes.rows import Claim, Row

NOTE = (
    "Percent of the full test set after the last epoch. Claimed: mean ± standard deviation as published. Measured: the mean "
    "over sets (method.seed) × networks, and its standard deviation between sets (sd sets) and between the networks of one "
    f"set (sd nets). A claim marked{rows.BEST_TEST} was chosen on the test set; nothing measured was. z is the difference "
    "in its standard errors; blank where the claim has no spread or does not say over how many sets × networks, or where "
    "one set only is measured. A quick row ran small, on digits, and is no reproduction. Who "
    "claims it, and what is unknown, stands in claims.csv."
)
_COLUMNS = ("of", "claimed", "measured", "difference", "z", "over", "sd sets", "sd nets", "claimed over")


def section(results: "Sequence[Result]") -> Section:
    """Builds the table of claimed and measured accuracies.

    Args:
        results: the compared results, of which those count whose settings are those of a row.

    Returns:
        The Section ``claims``. Its numbers have a line for each metric of each row of all recipes, measured or not; its
        text shows the measured ones only.
    """
    lines = [line for row in rows.every() for line in _lines(row, results)]
    measured = [line for line in lines if line["mean"] is not None]
    note = (
        f"{NOTE} {len({line['row'] for line in measured})} of {len({line['row'] for line in lines})} rows are measured."
    )
    shown = pd.DataFrame([_shown(line) for line in measured], columns=["row", *_COLUMNS] if measured else None)
    return Section("claims", "Claimed and measured", note, shown, pd.DataFrame(lines))


def _lines(row: "Row", results: "Sequence[Result]") -> Iterator[dict[str, Any]]:
    """Yields the lines of a row for each scale at which it was measured, or without measurement if it was not."""
    # a quick row has other networks, and so other metrics, in the same order
    published = rows.metrics(row.recipe, row.settings)
    for scale, by_seed in (of_row(row, results) or {PUBLISHED: {}}).items():
        measured_metrics = published if scale == PUBLISHED else rows.metrics(row.recipe, quick(row.settings))
        for published_metric, metric in zip(published, measured_metrics, strict=True):
            yield _line(
                row, scale, metric, row.claims.get(published_metric), measurement_of(list(by_seed.values()), metric)
            )


def _line(
    row: "Row", scale: str, metric: str, claim: "Claim | None", measurement: "Measurement | None"
) -> dict[str, Any]:
    difference, z = None, None  # a quick row is small and on digits: to compare it would mean nothing
    if claim and measurement and scale == PUBLISHED:
        difference, z = measurement.mean - claim.mean, z_score(claim, measurement)
    return {
        "row": row.name,
        "scale": scale,
        "metric": metric,
        "claimed_mean": claim and claim.mean,
        "claimed_std": claim and claim.std,
        "claimed_sets": claim and claim.sets,
        "claimed_networks": claim and claim.networks,
        "claimed_by": claim and claim.paper,
        "claimed_best_test": claim and claim.best_test,
        "source": claim and f"{claim.source}; {claim.note}",
        "unknown": row.recipe.unknown,
        "mean": measurement and measurement.mean,
        "sets": measurement and measurement.sets,
        "networks": measurement and measurement.networks,
        "between_sets": measurement and measurement.between_sets,
        "between_networks": measurement and measurement.between_networks,
        "difference": difference,
        "z": z,
    }


def _shown(line: dict[str, Any]) -> dict[str, str]:
    return {
        "row": line["row"] + " (quick)" * (line["scale"] != PUBLISHED),
        "of": line["metric"].removeprefix("evaluate.standard."),
        "claimed": _claimed(line),
        "measured": f"{line['mean']:.2f}",
        "difference": _number(line["difference"], "+.2f"),
        "z": _number(line["z"], "+.1f"),
        "over": f"{line['sets']} × {line['networks']}",
        "sd sets": _number(line["between_sets"], ".2f"),
        "sd nets": _number(line["between_networks"], ".2f"),
        "claimed over": f"{line['claimed_sets']} × {line['claimed_networks']}" if line["claimed_sets"] else "",
    }


def _claimed(line: dict[str, Any]) -> str:
    if line["claimed_mean"] is None:
        return "unknown"
    return rows.written(line["claimed_mean"], line["claimed_std"], line["claimed_best_test"])


def _number(value: float | None, form: str = "g") -> str:
    return "" if value is None else f"{value:{form}}".replace("-", "−")
