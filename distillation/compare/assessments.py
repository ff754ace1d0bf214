"""Table of the assessments of the distilled sets."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from distillation.compare.section import Section
from distillation.console import format as words
from distillation.report.assessments import MEANINGS

if TYPE_CHECKING:
    from distillation.recipes.results import Result

NOTE = "Means over the models of the pool, of the distilled set; what each says is in the report."
NONE = "No result has any: -S 'evaluate.assess.teachers=[main]' makes them."


def section(results: "Sequence[Result]") -> Section:
    """Builds the table of assessments, a row for each result; it has no text if no result has any assessment."""
    paths = assessed(results)
    values = pd.DataFrame([{"result": r.name, **{path: r.metrics.get(path) for path in paths}} for r in results])
    shown = values.rename(columns={path: path.removeprefix("assess.") for path in paths}).map(_digits)
    return Section("assessments", "Assessments", NOTE if paths else NONE, shown if paths else pd.DataFrame(), values)


def assessed(results: "Sequence[Result]") -> list[str]:
    """Lists the assessments that any result has.

    Returns:
        Paths in reports/metrics.json (``assess.POOL.ASSESSMENT``), pool by pool in the order of the report. Assessments
        of another revision, which this report does not know, come last.
    """
    paths = {path for result in results for path in result.metrics if path.startswith("assess.")}
    order = {name: i for i, name in enumerate(MEANINGS)}

    def place(path: str) -> tuple[str, int, str]:
        _, pool, name = path.split(".")
        return pool, order.get(name, len(order)), name

    return sorted(paths, key=place)


def _digits(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "–" if pd.isna(value) else words.digits(value)
