"""Summaries of results: mean, population standard deviation and the number of networks behind them."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

if TYPE_CHECKING:
    from distillation.report.reading import Artefacts, Measured, Pool

# Sets of images by their name in ``rows.csv``, in the order of tables, with their titles.
SETS = {
    "scratch": "from scratch",
    "gaussian": "Gaussian noise",
    "mean": "mean image",
    "kmeans": "k-means",
    "random": "random images",
    "control": "random, relabelled",
    "distilled": "distilled",
    "whole": "whole set",
}


class Line(Protocol):
    """A row of a table: its columns are attributes."""

    def __getattr__(self, column: str, /) -> Any: ...


def lines_of(table: pd.DataFrame) -> Iterator[Line]:
    """The rows of a table, in order."""
    return iter(table.itertuples())  # pyright: ignore[reportReturnType] tuples whose names pandas' types do not know


def rows_where(table: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """The rows of a table at which ``mask``, a column of booleans, is true."""
    return table[mask]  # pyright: ignore[reportReturnType] pandas' types do not know that a mask selects rows


def means(table: pd.DataFrame, by: str, column: str) -> pd.Series:
    """The means of ``column``, by the values of the column ``by``."""
    return table.groupby(by)[column].mean()  # pyright: ignore[reportReturnType] pandas' types: any scalar


def groups_of(table: pd.DataFrame, by: str | list[str]) -> Iterable[tuple[Any, pd.DataFrame]]:
    """The parts of a table that share the values of columns, in order of appearance.

    Args:
        table: the table.
        by: a column, or several.

    Returns:
        Pairs of the value, or the values of several columns, and the part.
    """
    return table.groupby(by, sort=False)  # pyright: ignore[reportReturnType] pandas' types: Hashable, not its parts


def summary(*rows: pd.DataFrame, column: str = "accuracy") -> pd.DataFrame:
    """One line per set and network of the given rows: ``mean``, ``std`` (population), ``low``, ``high``, ``n``, ``diverged``.

    ``diverged`` of the ``n`` networks ended with a loss that is not finite. They are in the mean as they were tested, near
    chance: a mean over those that went well would be no result of the method.

    Sets come in the order of ``SETS``, networks in the order in which they were measured. Random images are averaged over
    draws and seeds together.

    Args:
        rows: tables with the columns set, network, loss and ``column``.
        column: the column that is summarised.
    """
    joined = pd.concat(rows, ignore_index=True)
    # categories give the groups, and so the lines, their order
    joined["set"] = pd.Categorical(joined["set"], list(SETS), ordered=True)
    joined["network"] = pd.Categorical(joined["network"], list(dict.fromkeys(joined["network"])), ordered=True)
    joined["diverged"] = ~joined["loss"].map(math.isfinite)
    groups: Any = joined.groupby(["set", "network"], observed=True)
    table = groups.agg(
        mean=(column, "mean"),
        std=(column, lambda a: a.std(ddof=0)),
        low=(column, "min"),
        high=(column, "max"),
        n=(column, "count"),
        diverged=("diverged", "sum"),
    ).reset_index()
    return table.astype({"set": str, "network": str})


def protocol(artefacts: "Artefacts", name: str) -> pd.DataFrame:
    """The ``summary`` of all results under a protocol, with the whole set for comparison."""
    return summary(artefacts.evaluation[name].rows, artefacts.baseline[name].rows, artefacts.whole.rows)


def best_tests(artefacts: "Artefacts", name: str) -> pd.DataFrame | None:
    """The ``summary`` of ``best_test`` under a protocol, chosen on the test set; None if it was not recorded."""
    measured = [artefacts.evaluation[name].rows, artefacts.baseline[name].rows, artefacts.whole.rows]
    return summary(*measured, column="best_test") if all("best_test" in rows for rows in measured) else None


def assessments(measured: "Measured") -> pd.DataFrame:
    """One line per assessment and set of a Measured: ``mean``, ``std`` (population) and ``n`` over the models.

    Both come in the order in which they were measured. If no model has a value, n is 0 and the rest NaN.
    """
    groups = measured.rows.groupby(["assessment", "set"], sort=False)["value"]
    return groups.agg(mean="mean", std=lambda values: values.std(ddof=0), n="count").reset_index()


def differences(evaluated: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """Per network ``points``, the mean of the distilled set minus that of random images, and its standard ``error``.

    The networks trained on the distilled set are independent of each other, those trained on one random draw are not:
    the error is sqrt(s_d²/n + s_r²/m) with the sample variance s_d² over the n runs of the distilled set and s_r²
    over the means of the m draws. It is NaN if n or m is one, and does not cover other distilled sets.
    """
    lines = []
    for network in dict.fromkeys(evaluated["network"]):
        # pandas' own types lose track of a column after query and of its mean: Any
        distilled: Any = evaluated.query("set == 'distilled' and network == @network")["accuracy"]
        draws: Any = baseline.query("set == 'random' and network == @network").groupby("draw")["accuracy"].mean()
        if len(distilled) and len(draws):
            lines.append((network, distilled.mean() - draws.mean(), math.hypot(distilled.sem(), draws.sem())))
    return pd.DataFrame(lines, columns=["network", "points", "error"])


def teachers(pool: "Pool") -> pd.DataFrame:
    """One line per network and kept checkpoint of a Pool: ``parameters``, ``epoch``, and the accuracy's summary."""
    rows = pd.DataFrame(
        {
            "network": network["network"],
            "checkpoint": checkpoint["name"],
            "parameters": network["parameters"],
            "epoch": checkpoint["epoch"],
            "accuracy": checkpoint["accuracy"],
        }
        for network in pool.info["networks"]
        for checkpoint in network["kept"]
    ).astype({"accuracy": float})  # None, of a network without classes, is missing
    groups = rows.groupby(["network", "checkpoint"], sort=False)
    return groups.agg(
        parameters=("parameters", "first"),
        epoch=("epoch", "max"),
        mean=("accuracy", "mean"),
        std=("accuracy", lambda a: a.std(ddof=0)),
        n=("accuracy", "count"),
    ).reset_index()


def neighbours(pool: "Pool") -> pd.DataFrame:
    """One line per network of a Pool: the summary of its k-nearest-neighbour accuracies; no line if it has none."""
    accuracies = [(each["network"], each["knn"]) for each in pool.info["networks"] if "knn" in each]
    groups = pd.DataFrame(accuracies, columns=["network", "accuracy"]).groupby("network", sort=False)["accuracy"]
    return groups.agg(mean="mean", std=lambda a: a.std(ddof=0), n="count").reset_index()


def norms(pools: "Mapping[str, Pool]") -> pd.DataFrame | None:
    """One line per pool, network and layer of batch norm: the spread of its channels, averaged over the teachers.

    ``mean`` is the std over channels of the running means, ``variance`` that of the running variances: how much information
    a layer has for images that are made by its statistics (SC-DD).

    Returns:
        The lines; None if no pool has batch norms.
    """
    statistics = [pool.norms.assign(pool=name) for name, pool in pools.items() if pool.norms is not None]
    if not statistics:
        return None
    layers: Any = pd.concat(statistics).groupby(["pool", "network", "index", "checkpoint", "layer"], sort=False)
    spreads = layers[["mean", "variance"]].std(ddof=0)
    return spreads.groupby(["pool", "network", "layer"], sort=False).mean().reset_index()


def metrics(artefacts: "Artefacts") -> dict[str, Any]:
    """The numbers that ``dvc metrics show`` lists: percent with two digits, under sorted names without dots.

    ``evaluate.PROTOCOL.NETWORK``, ``evaluate.PROTOCOL.control.NETWORK``, ``baseline.PROTOCOL.SET.NETWORK``,
    ``whole.NETWORK`` and ``teacher.POOL.NETWORK`` (checkpoint ``last``) hold ``mean`` and ``std``, and ``diverged``, the
    number of networks whose loss ended not finite, if there are any. So do, if recorded,
    ``teacher.POOL.knn.NETWORK``, by nearest neighbours of features, and ``evaluate.PROTOCOL.best_test.NETWORK``, chosen on
    the test set. ``distill.loss`` is the last loss of a method that optimises.
    ``assess.POOL.ASSESSMENT`` is a mean over the models. Results on a target are
    ``transfer.TARGET.PROTOCOL.SET.NETWORK`` and ``kd.TARGET.accuracy|batch_accuracy.SET.NETWORK``.
    """
    values = {"evaluate": {}, "baseline": {}, "whole": _cells(summary(artefacts.whole.rows))["whole"], "teacher": {}}
    for name, measured in artefacts.evaluation.items():
        cells = _cells(summary(measured.rows))
        control = {"control": cells["control"]} if "control" in cells else {}
        best = best_tests(artefacts, name)
        best = {} if best is None else {"best_test": _cells(best)["distilled"]}
        values["evaluate"][name] = {**cells["distilled"], **control, **best}
    for name, measured in artefacts.baseline.items():
        values["baseline"][name] = _cells(summary(measured.rows))
    for name, pool in artefacts.pools.items():
        table = teachers(pool)
        last = rows_where(table, (table["checkpoint"] == "last") & (table["n"] > 0))
        knn = {line.network: _cell(line) for line in lines_of(neighbours(pool))}
        values["teacher"][name] = {line.network: _cell(line) for line in lines_of(last)} | ({"knn": knn} if knn else {})
    if len(artefacts.curve):
        values["distill"] = {"loss": _digits(artefacts.curve["loss"].iloc[-1])}
    if artefacts.transfers:
        values["transfer"] = {name: _by_protocol(measured.rows) for name, measured in artefacts.transfers.items()}
    if artefacts.kd:
        values["kd"] = {
            name: {column: _cells(summary(measured.rows, column=column)) for column in ("accuracy", "batch_accuracy")}
            for name, measured in artefacts.kd.items()
        }
    if artefacts.assessments:
        values["assess"] = {name: _assessed(measured) for name, measured in artefacts.assessments.items()}
    return _sorted(values)


def _cells(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """The cells of a ``summary`` by set, then by network."""
    cells = {}
    for line in lines_of(table):
        cells.setdefault(line.set, {})[line.network] = _cell(line)
    return cells


def _by_protocol(rows: pd.DataFrame) -> dict[str, Any]:
    """The cells of the summary of transfers by protocol, set and network."""
    return {name: _cells(summary(group)) for name, group in groups_of(rows, "protocol")}


def _assessed(measured: "Measured") -> dict[str, float]:
    """The means over the models of the distilled set, by assessment; without those that have no value."""
    table = assessments(measured)
    distilled = rows_where(table, (table["set"] == "distilled") & (table["n"] > 0))
    return {line.assessment: _digits(line.mean) for line in lines_of(distilled)}


def _digits(value: float) -> float:
    """A number with six significant digits."""
    return float(f"{value:.6g}")


def _cell(line: Line) -> dict[str, float]:
    """Mean and std of a line with two digits, and how many of its networks diverged, if any."""
    diverged = {"diverged": int(count)} if (count := getattr(line, "diverged", 0)) else {}
    return {"mean": round(float(line.mean), 2), "std": round(float(line.std), 2), **diverged}


def _sorted(value: Any) -> Any:
    """A nested mapping with sorted keys at every depth."""
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value
