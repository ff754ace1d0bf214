"""The recipes: each file of ``recipes/`` is a table of a paper, and every combination of values of its axes is a row.

Beside them, ``recipes/scales.yaml`` holds what rows start from and how they are made small, ``recipes/claims.csv`` the
published numbers.
"""

import csv
import difflib
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillation import methods
from distillation.bounds import Count
from distillation.params import Section, parse, validate
from distillation.recipes.results import nested
from distillation.runtime.errors import BadInput

FOLDER = Path(__file__).resolve().parents[2] / "recipes"
SCALES, CLAIMS = "scales", "claims.csv"
BEST_TEST = " (best on test)"  # the mark of a claim that is chosen on the test set
_CLAIM, _NO_CLAIM = "claim.", "claim"


class Also(Section):
    """Further settings of some rows.

    Attributes:
        where: a value, or a list of values, by the name of an axis; a row must match all of them.
        set: settings by dotted path.
    """

    where: dict
    set: dict


class Cells(Section):
    """A setting whose value depends on several axes.

    Attributes:
        set: dotted path of the setting.
        by: names of axes.
        values: values, nested in the order of ``by``; a missing one sets nothing.
    """

    set: str
    by: list[str]
    values: dict


class Source(Section):
    """A table of claims.csv by the values of its columns.

    Attributes:
        paper, table, method: values of the columns of that name.
        sets, networks: numbers of sets, and of networks on each, that a published spread covers; None if not stated.
        best_test: whether the published accuracy is the best of several tests on the test set.
    """

    paper: str
    table: str
    method: str | None = None
    best_test: bool = False
    sets: Count | None = None
    networks: Count | None = None


class Recipe(Section):
    """A table of a paper.

    Attributes:
        paper, table: the table.
        source: citation of its settings.
        unknown: what no source specifies, in a sentence; None if nothing.
        sets: number of sets behind the table's means, each a ``method.seed``.
        set: settings of every row, by dotted path.
        axes: name to value to settings; a key that begins with ``claim.`` is a column of claims.csv instead, and
            ``claim: none`` means that no result is known.
        skip: combinations of values that the table does not have.
        also, cells: further settings; later ones win.
        claims: where results are claimed; the first source that has a row counts.
        eval_archs: network to its name in claims.csv, if a row has several networks.
        metric: path of the accuracy in reports/metrics.json, with ``{network}`` and perhaps ``{target}`` in it.
    """

    paper: str
    table: str
    source: str
    unknown: str | None = None
    sets: Count
    set: dict
    axes: dict[str, dict]
    skip: list[dict] = []
    also: list[Also] = []
    cells: list[Cells] = []
    claims: list[Source] = []
    eval_archs: dict[str, str] = {}
    metric: str = "evaluate.standard.{network}"


@dataclass(frozen=True)
class Claim:
    """A published accuracy.

    Attributes:
        mean, std: percent; ``std`` is None if not stated.
        sets, networks: numbers of sets, and of networks on each, behind them; None if not stated.
        paper, source, note: columns of claims.csv.
        best_test: whether it is the best of several tests on the test set.
    """

    mean: float
    std: float | None
    sets: int | None
    networks: int | None
    paper: str
    source: str
    note: str
    best_test: bool


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: RECIPE/ROW.
        recipe: the table.
        settings: all that change a result, by dotted path, at published scale.
        claims: the Claim of each metric by the metric's path; without those for which none is known.
    """

    name: str
    recipe: Recipe
    settings: dict[str, Any]
    claims: dict[str, Claim]

    def seeded(self, seed: int) -> dict[str, Any]:
        """The settings of the set with this seed."""
        return {**self.settings, "method.seed": seed}


def names() -> list[str]:
    """The names of the recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != SCALES)


def load(name: str) -> Recipe:
    """Loads the recipe in ``recipes/<name>.yaml``.

    Raises:
        BadInput: there is none, and the sentence lists similar names; or the file does not fit the schema.
    """
    if name not in names():
        raise _unknown(name, names(), "recipe")
    return validate(Recipe, _read(FOLDER / f"{name}.yaml"), f"recipes/{name}.yaml")


@functools.cache
def scales() -> dict[str, Any]:
    """The content of scales.yaml: ``published`` and ``quick``."""
    return _read(FOLDER / f"{SCALES}.yaml")


@functools.cache
def rows(name: str) -> tuple[Row, ...]:
    """The rows of the recipe ``name``, in the order of its axes."""
    recipe = load(name)
    combinations = []
    for values in itertools.product(*recipe.axes.values()):
        where = dict(zip(recipe.axes, map(str, values), strict=True))
        if any(_matches(where, each) for each in recipe.skip):
            continue
        settings = _settings(recipe, where)
        row = "/".join([name, *(["-".join(where.values())] if where else [])])
        # keys that begin with claim are no settings: they select the line of claims.csv
        columns = {key: settings.pop(key) for key in list(settings) if key.split(".")[0] == _NO_CLAIM}
        complete = _relevant({**scales()["published"], **settings})
        combinations.append(Row(row, recipe, complete, _claims(recipe, columns, complete["evaluate.networks"])))
    return tuple(combinations)


def find(name: str) -> Row:
    """The row ``name``, like ``clom/dc-clom-cifar10-10``.

    Raises:
        BadInput: there is none; the sentence lists similar names.
    """
    recipe = name.partition("/")[0]
    by_name = {row.name: row for row in rows(load(recipe) and recipe)}  # ``load`` raises for an unknown name
    if name not in by_name:
        raise _unknown(name, list(by_name), "row")
    return by_name[name]


def selected(name: str) -> tuple[Row, ...]:
    """The row RECIPE/ROW, or all rows of a RECIPE.

    Raises:
        BadInput: there is none of that name.
    """
    return (find(name),) if "/" in name else rows(load(name) and name)


def every() -> list[Row]:
    """All rows of all recipes."""
    return [row for name in names() for row in rows(name)]


def metrics(recipe: Recipe, settings: Mapping[str, Any]) -> list[str]:
    """The paths in reports/metrics.json that measure a row with these ``settings``, network by network."""
    targets = settings["targets"] if "{target}" in recipe.metric else [None]
    return [recipe.metric.format(network=n, target=t) for n in settings["evaluate.networks"] for t in targets]


def written(mean: float, std: float | None, best_test: bool) -> str:
    """The text of a claimed accuracy, with its spread and mark if it has them."""
    return f"{mean:g}" + ("" if std is None else f" ± {std:g}") + BEST_TEST * best_test


def _read(path: Path) -> Any:
    return parse(path.read_text(encoding="utf-8"))


def _unknown(name: str, candidates: Sequence[str], kind: str) -> BadInput:
    close = difflib.get_close_matches(name, candidates, n=3, cutoff=0.4)
    return BadInput(
        f"{name!r} is no {kind}; {'near it are' if close else 'there are'} {', '.join(close or candidates[:8])}."
    )


def _settings(recipe: Recipe, where: Mapping[str, str]) -> dict[str, Any]:
    """The settings and columns of claims of the row with these values of the axes; later ones override earlier ones."""
    settings = dict(recipe.set)
    for axis, value in where.items():
        settings |= next(content for key, content in recipe.axes[axis].items() if str(key) == value)
    for more in recipe.also:
        if _matches(where, more.where):
            settings |= more.set
    for cells in recipe.cells:
        value = cells.values
        for axis in cells.by:
            value = {str(key): inner for key, inner in value.items()}.get(where[axis]) if value else None
        if value is not None:
            settings[cells.set] = value
    return settings


def _relevant(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without the sections of methods, objectives and label kinds that are not chosen, as they change nothing."""
    label_kind = kind_of_labels(settings["method.name"], settings["relabel.kind"])
    active = {
        "method": {settings["method.name"], "guidance"},
        "relabel": {settings["relabel.kind"]},
        "objectives": _objectives(settings),
        "evaluate.standard": {"hard", label_kind} if "standard" in settings["evaluate.protocols"] else set(),
    }
    carried = {"evaluate.pretrain.", "evaluate.transfer."} if not settings["targets"] else set()
    unused = tuple(carried | ({"evaluate.kd."} if not settings["evaluate.kd.teachers"] else set()))

    def matters(path: str) -> bool:
        for section, names in active.items():
            rest = path.removeprefix(f"{section}.").split(".")
            if path.startswith(f"{section}.") and len(rest) > 1:
                return rest[0] in names
        return path == "evaluate.kd.teachers" or not path.startswith(unused)

    return {path: value for path, value in settings.items() if matters(path)}


def _objectives(settings: Mapping[str, Any]) -> set[str]:
    """The objectives of all pools."""
    return {pool["objective"] for pool in nested(settings)["teacher"].values()}


def kind_of_labels(method: str, relabelled: str) -> str:
    """The kind of the labels that students learn from, by ``method.name`` and ``relabel.kind``."""
    kind = methods.load(method).METHOD.kind if relabelled == "keep" else relabelled
    return {"probs": "soft"}.get(kind, kind)


def _matches(where: Mapping[str, str], conditions: Mapping[str, Any]) -> bool:
    """Whether each axis of ``conditions`` has one of its values, as text, since keys of YAML may be numbers."""
    return all(where[axis] in map(str, _listed(values)) for axis, values in conditions.items())


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def _claims(recipe: Recipe, columns: dict[str, Any], networks: Sequence[str]) -> dict[str, Claim]:
    """The Claim of each metric by the metric's path, network by network, from the first source that has one."""
    if columns.pop(_NO_CLAIM, None) == "none" or not recipe.claims:
        return {}
    columns = {key.removeprefix(_CLAIM): value for key, value in columns.items()}
    claims = {}
    for network in networks:
        arch = {"eval_arch": recipe.eval_archs[network]} if network in recipe.eval_archs else {}
        for source in recipe.claims:
            query = {"paper": source.paper, "table": source.table, **columns, **arch}
            if source.method:
                query["method"] = source.method
            if line := _line(query):
                std = float(line["std"]) if line["std"] else None
                stated = (source.sets, source.networks) if std is not None else (None, None)
                origin = (line["paper"], line["source"], line["note"], source.best_test)
                claims[recipe.metric.format(network=network)] = Claim(float(line["mean"]), std, *stated, *origin)
                break
    return claims


def _line(query: Mapping[str, Any]) -> dict[str, str] | None:
    """The one line of claims.csv with the values ``query``, or None.

    Raises:
        BadInput: several lines with different means have these values.
    """
    lines = [line for line in _lines()[query["paper"]] if all(line[key] == value for key, value in query.items())]
    if len({line["mean"] for line in lines}) > 1:
        raise BadInput(f"recipes/claims.csv has {len(lines)} lines for {query}, one should be meant.")
    return lines[0] if lines else None


@functools.cache
def _lines() -> dict[str, list[dict[str, str]]]:
    """The lines of claims.csv by paper."""
    with open(FOLDER / CLAIMS, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    return {paper: [line for line in lines if line["paper"] == paper] for paper in {line["paper"] for line in lines}}
