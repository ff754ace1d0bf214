"""Lists, shows, uses and queues published settings, row by row of the papers' tables. A command, no stage.

    python -m distillation recipes list
    python -m distillation recipes show clom/dc-clom-cifar10-10
    python -m distillation recipes queue clom --sets 2

Reads   recipes, params.yaml; what Git holds of finished experiments
Writes  params.yaml (use), or DVC's queue (queue)
"""

import argparse
import textwrap
from pathlib import Path

from distillation import params as parameters
from distillation.checks import check_all
from distillation.console import format as words
from distillation.datasets.catalogue import CATALOGUE
from distillation.datasets.downloads import by_hand, locate
from distillation.recipes import cost, overlay, queueing, rows
from distillation.recipes.measured import PUBLISHED, QUICK
from distillation.runtime import dvc_private, files, process
from distillation.runtime.errors import BadInput, guarded

FILE = Path("params.yaml")


def listing(name: str | None = None) -> None:
    """Prints the recipes, or the rows of the recipe ``name`` with their claims."""
    if name:
        for row in rows.selected(name):
            print(f"{row.name:44}{_claimed(row)}")
        return
    for each in rows.names():
        recipe = rows.load(each)
        print(f"{each:20}{words.count(len(rows.rows(each)), 'row'):>10}  {recipe.paper}\n{'':32}{recipe.table}")


def show(name: str, scale: str, seed: int) -> None:
    """Prints the settings of a row, its claim, and its estimated cost.

    Args:
        name: RECIPE/ROW.
        scale: ``published`` or ``quick``.
        seed: ``method.seed``: which set.

    Raises:
        BadInput: there is no such row, or as ``_target``.
    """
    row, params = rows.find(name), _target(name, scale, seed)
    recipe = row.recipe
    print(f"{recipe.paper}\n{recipe.table}\nSettings: {recipe.source}")
    if recipe.unknown:
        print(textwrap.fill(f"Unknown: {recipe.unknown}", 120))
    print(f"\nClaimed: {_claimed(row)}\nSets: method.seed 0 to {recipe.sets - 1}\n")
    for path, value in queueing.settings(row, scale, seed).items():
        print(f"  {path:45} {words.value(value)}")
    estimate = cost.estimate(params)
    print("\nEstimated arithmetic of a set, shared stages included:")
    for stage, giga in [*estimate.items(), ("together", sum(estimate.values()))]:
        print(f"  {stage:20} {words.arithmetic(giga)}")
    for part in cost.left_out(params):
        print(f"Not estimated: {part}.")


def use(name: str, scale: str, seed: int) -> None:
    """Writes the settings of a row into params.yaml; its comments, and values that no recipe names, stay.

    Arguments and errors are those of ``show``.
    """
    params = _target(name, scale, seed)
    files.write_bytes(FILE, overlay.text(FILE.read_text(encoding="utf-8"), params.values).encode())
    print(f"params.yaml is that of {name}{' at quick scale' * (scale == QUICK)}: `dvc repro`, or `dvc exp run -S ...`.")


def flags(name: str, scale: str, seed: int) -> None:
    """Prints the overrides that lead from params.yaml to the row, quoted for a shell, a line each.

    Arguments and errors are those of ``show``.
    """
    for flag in overlay.flags(parameters.load().values, _target(name, scale, seed).values):
        print(f"-S '{flag}'")


def queue(name: str, scale: str, sets: int | None) -> None:
    """Queues an experiment for each set that is neither finished nor queued, and prints how many there are.

    Args:
        name: RECIPE/ROW, or RECIPE for all its rows.
        scale: ``published`` or ``quick``.
        sets: number of sets of each row; None: as many as the table has.

    Raises:
        BadInput: there is no such row, a row cannot run here, or DVC refuses.
    """
    selection = rows.selected(name)
    for row in selection:  # all are checked before the first is queued
        _target(row.name, scale, 0)
    todo, waiting = list(queueing.missing(selection, scale, sets)), dvc_private.waiting()
    values, queued = parameters.load().values, 0
    for row, seed in todo:
        if queueing.experiment(row, scale, seed) not in waiting:
            queueing.queue(values, row, scale, seed)
            queued += 1
    total = sum(sets or row.recipe.sets for row in selection)
    print(
        f"{queued} queued, {len(todo) - queued} in the queue already, {total - len(todo)} finished: `dvc queue start -j N`."
    )


def _target(name: str, scale: str, seed: int) -> parameters.Params:
    """Returns the Params of params.yaml with the settings of a row, checked.

    Args:
        name: RECIPE/ROW.
        scale: ``published`` or ``quick``.
        seed: ``method.seed``.

    Raises:
        BadInput: the settings are wrong, or a file of a dataset has to be fetched by hand first.
    """
    params = parameters.Params(
        overlay.applied(parameters.load().values, queueing.settings(rows.find(name), scale, seed))
    )
    check_all(params)
    sections = [params.value("dataset"), *params.value("sources").values(), *params.value("targets").values()]
    for dataset in dict.fromkeys(section["name"] for section in sections):
        for file in CATALOGUE[dataset].files:
            if not file.urls and not locate(file, process.root() / "data" / "raw" / dataset):
                raise BadInput(
                    f"{name} needs {dataset}, which is not there: {by_hand(file, Path('data/raw') / dataset)}"
                )
    return params


def _claimed(row: rows.Row) -> str:
    """The claimed accuracies of a row with their metrics, in one line; ``unknown`` if there are none."""
    accuracies = [
        f"{metric.removeprefix('evaluate.')} {rows.written(claim.mean, claim.std, claim.best_test)}"
        for metric, claim in row.claims.items()
    ]
    return ", ".join(accuracies) or "unknown"


def _positive(text: str) -> int:
    """Parses a whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, text in {
        "list": "print the recipes, or the rows of one with their claims",
        "show": "print the settings, the claim and the estimated cost of a row",
        "use": "write the settings of a row into params.yaml; comments are kept",
        "flags": "print the -S overrides of a row",
        "queue": "queue the missing sets of a row or of a whole recipe",
    }.items():
        each = commands.add_parser(command, help=text, description=text)
        each.add_argument("name", nargs="?" if command == "list" else None, help="RECIPE, or RECIPE/ROW")
        if command != "list":
            each.add_argument("--quick", action="store_true", help="small and on digits, to test the row on a CPU")
        if command in ("show", "use", "flags"):
            each.add_argument("--seed", type=int, default=0, help="the set: method.seed (default: 0)")
        if command == "queue":
            each.add_argument("--sets", type=_positive, help="number of sets of each row (default: as published)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Runs the subcommand that ``args`` names."""
    process.begin()
    if args.command == "list":
        return listing(args.name)
    scale = QUICK if args.quick else PUBLISHED
    if args.command == "queue":
        return queue(args.name, scale, args.sets)
    return {"show": show, "use": use, "flags": flags}[args.command](args.name, scale, args.seed)


def main() -> int:
    """Parses the command line; returns the exit code."""
    return guarded(run, _parser().parse_args())
