"""Correlation of each assessment with the final accuracy over results (the question of CLOM)."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from distillation.compare.assessments import NONE, assessed
from distillation.compare.section import Section
from distillation.report.assessments import MEANINGS
from distillation.report.figures import blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from distillation.recipes.results import Result
    from distillation.report.figures import Palette

LEAST = 3  # of two points every correlation is 1 or -1
NOTE = (
    "Over the n results that have both, those with the same metrics counted once; blank below 3. A correlation over "
    "results of several datasets or numbers of images speaks of those first: name the results that belong together."
)


def section(results: "Sequence[Result]", metric: str) -> Section:
    """Builds the table and the figure of correlations, a row for each assessment.

    Args:
        results: the compared results.
        metric: path of the accuracy, as ``accuracies.main_accuracy`` returns it.

    Returns:
        The Section ``correlation``: Pearson and Spearman coefficients and the number of results n. Its figure shows
        assessments that at least two results have.
    """
    points = {path: pairs(results, path, metric) for path in assessed(results)}
    values = pd.DataFrame(
        [{"assessment": path.removeprefix("assess."), **correlations(each)} for path, each in points.items()],
        columns=["assessment", "pearson", "spearman", "n"],
    )
    shown = values.assign(**{key: values[key].map(_two_digits) for key in ("pearson", "spearman")})
    plotted = {path: each for path, each in points.items() if len(each) >= 2}
    return Section(
        "correlation",
        f"Correlation with {metric}",
        NOTE if points else NONE,
        shown,
        values,
        (lambda palette: scatter(palette, plotted, metric)) if plotted else None,
    )


def pairs(results: "Sequence[Result]", path: str, metric: str) -> pd.DataFrame:
    """Collects an assessment and the accuracy of each result that has both.

    Args:
        results: the compared results; of several with the same metrics, one counts.
        path: of the assessment.
        metric: path of the accuracy, without ``.mean``.

    Returns:
        A table with the columns ``assessment``, ``accuracy`` and ``std`` (of the accuracy over students).
    """
    # equal metrics are one run under several names or commits; counted twice, it would weigh twice
    different = {repr(result.metrics): result for result in results}.values()
    rows = [[result.metrics.get(key) for key in (path, f"{metric}.mean", f"{metric}.std")] for result in different]
    return pd.DataFrame(rows, columns=["assessment", "accuracy", "std"], dtype=float).dropna()


def correlations(points: pd.DataFrame) -> dict[str, float]:
    """``pearson``, ``spearman`` and ``n`` of ``pairs``; NaN below ``LEAST`` points or if one side is constant."""
    x: pd.Series = points["assessment"]  # pyright: ignore[reportAssignmentType] pandas' types: perhaps a table
    y: pd.Series = points["accuracy"]  # pyright: ignore[reportAssignmentType] as before
    if len(points) < LEAST or x.nunique() < 2 or y.nunique() < 2:
        return {"pearson": math.nan, "spearman": math.nan, "n": len(points)}
    # Spearman's coefficient is Pearson's of the ranks
    return {"pearson": x.corr(y), "spearman": x.rank().corr(y.rank()), "n": len(points)}


def scatter(palette: "Palette", points: Mapping[str, pd.DataFrame], metric: str, columns: int = 4) -> "Figure":
    """Figure of the accuracy over each assessment: a point for each result, with the std of its students.

    Args:
        palette: colours.
        points: what ``pairs`` returns, by the assessment's path.
        metric: path of the accuracy, the label of the vertical axis.
        columns: number of panels in a line, at most.
    """
    columns = min(columns, len(points))
    lines = -(-len(points) // columns)
    figure = blank(2.4 * columns, 2.2 * lines + 0.2)
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    several = len({path.split(".")[1] for path in points}) > 1
    for axes, (path, each) in zip(grid.flat, points.items(), strict=False):
        _, pool, name = path.split(".")
        style = {"color": palette.accent, "ecolor": palette.plain, "elinewidth": 0.8, "markersize": 3.5}
        axes.errorbar(each["assessment"], each["accuracy"], each["std"], fmt="o", **style)
        statistics = correlations(each)
        coefficients = (
            ""
            if math.isnan(statistics["pearson"])
            else f"r = {statistics['pearson']:.2f}, ρ = {statistics['spearman']:.2f}, "
        )
        axes.set_title(f"{coefficients}n = {statistics['n']}", color=palette.muted, fontsize=8)
        axes.set_xlabel(MEANINGS.get(name, (name,))[0] + (f" ({pool})" if several else ""), fontsize=8)
        axes.grid(color=palette.rule, linewidth=0.5)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
    for axes in list(grid.flat)[len(points) :]:
        axes.set_axis_off()
    figure.supylabel(metric, fontsize=8, color=palette.muted)
    return figure


def _two_digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.2f}".replace("-", "−")
