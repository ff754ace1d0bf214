"""Table of results: the parameters in which they differ, and the accuracies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from distillation.compare.section import Section
from distillation.console import format as words
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from distillation.recipes.results import Result

NOTE = (
    "Percent of the full test set after the last epoch: mean ± population standard deviation over n students, whose number "
    "is evaluate.seeds. The parameters are those in which the results differ."
)
CHOSEN = " best_test is chosen on the test set: optimistic, for comparison with such published figures only."


def section(results: "Sequence[Result]") -> Section:
    """Builds the table of results: a row for each, with the parameters in which they differ and all accuracies.

    Args:
        results: with distinct names.

    Returns:
        The Section ``results``. Its text has mean and spread in one column, its numbers in two.
    """
    changed, measured = changed_parameters(results), accuracies(results)
    shown, values = [], []
    for result in results:
        params = {path: result.params.get(path) for path in changed}
        shown.append({"result": result.name, **{path: words.value(value) for path, value in params.items()}})
        shown[-1] |= {path.removeprefix("evaluate."): cell(result, path) for path in measured}
        values.append({"result": result.name, **params, "n": result.params.get("evaluate.seeds")})
        values[-1] |= {
            f"{path}.{key}": result.metrics.get(f"{path}.{key}") for path in measured for key in ("mean", "std")
        }
    note = NOTE + CHOSEN * any(".best_test." in path for path in measured)
    return Section("results", "Results", note, pd.DataFrame(shown), pd.DataFrame(values))


def changed_parameters(results: "Sequence[Result]") -> list[str]:
    """The dotted paths at which the results' parameters differ, in the order of params.yaml."""
    paths = dict.fromkeys(path for result in results for path in result.params)
    return [path for path in paths if len({repr(result.params.get(path)) for result in results}) > 1]


def accuracies(results: "Sequence[Result]") -> list[str]:
    """The paths of metrics below ``evaluate`` at which any result has a mean; sorted, without ``.mean``."""
    return sorted(
        {
            path.removesuffix(".mean")
            for result in results
            for path in result.metrics
            if path.startswith("evaluate.") and path.endswith(".mean")
        }
    )


def main_accuracy(results: "Sequence[Result]", metric: str | None = None) -> str:
    """Chooses the accuracy that assessments are correlated with.

    Args:
        results: the compared results.
        metric: a path in reports/metrics.json, with or without ``.mean``; None: the accuracy of distilled sets that
            most results have, the first of several.

    Returns:
        The path, without ``.mean``.

    Raises:
        BadInput: no result has it.
    """
    candidates = [path for path in accuracies(results) if not {"control", "best_test"} & set(path.split("."))]
    if metric:
        metric = metric.removesuffix(".mean")
        if all(f"{metric}.mean" not in result.metrics for result in results):
            raise BadInput(f"no result has the metric {metric!r}; there are {', '.join(candidates) or 'none'}.")
        return metric
    if not candidates:
        raise BadInput("no result has an accuracy in reports/metrics.json: run `dvc repro` or `dvc exp run` first.")
    return max(candidates, key=lambda path: sum(f"{path}.mean" in result.metrics for result in results))


def cell(result: "Result", path: str) -> str:
    """Text like ``87.70 ± 1.33 (3)``; without a spread for one student, a dash if the result has no such accuracy.

    Students that diverged are counted behind it.
    """
    mean, std, n = (
        *(result.metrics.get(f"{path}.{key}") for key in ("mean", "std")),
        result.params.get("evaluate.seeds"),
    )
    if mean is None:
        return "–"
    diverged = f", {count} diverged" if (count := result.metrics.get(f"{path}.diverged")) else ""
    return f"{mean:.2f} ({n}{diverged})" if n == 1 else f"{mean:.2f} ± {std:.2f} ({n}{diverged})"
