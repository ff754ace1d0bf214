"""Queueing of a recipe: one experiment for each row and set that is neither finished nor queued."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distillation.recipes import overlay, results
from distillation.recipes.measured import PUBLISHED, of_row
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from distillation.recipes.rows import Row


def experiment(row: "Row", scale: str, seed: int) -> str:
    """The name of the experiment of one set, valid in a Git ref: ``clom-dc-clom-cifar10-10-quick-set0``."""
    return "-".join([re.sub(r"[^\w-]+", "-", row.name), *(["quick"] if scale != PUBLISHED else []), f"set{seed}"])


def missing(rows: "Sequence[Row]", scale: str, sets: int | None) -> "Iterator[tuple[Row, int]]":
    """Yields each set that no experiment of any commit measures.

    Args:
        rows: of recipes.
        scale: ``published`` or ``quick``.
        sets: number of sets of each row; None: as many as the table has.

    Yields:
        The row, and the ``method.seed`` of the set.
    """
    finished = results.read(every=True)  # once for all rows; also experiments that started from other commits
    for row in rows:
        measured = of_row(row, finished).get(scale, {})
        for seed in range(sets or row.recipe.sets):
            if seed not in measured:
                yield row, seed


def settings(row: "Row", scale: str, seed: int) -> dict[str, Any]:
    """The settings of one set of a row by dotted path, at a scale (``published`` or ``quick``)."""
    return row.seeded(seed) if scale == PUBLISHED else overlay.quick(row.seeded(seed))


def queue(values: Mapping[str, Any], row: "Row", scale: str, seed: int) -> None:
    """Queues one set of a row as an experiment of DVC; nothing is computed, and params.yaml stays as it is.

    Args:
        values: nested values of params.yaml, which the row's settings override.
        row: the row.
        scale: ``published`` or ``quick``.
        seed: ``method.seed`` of the set.

    Raises:
        BadInput: DVC refuses; the sentence quotes its error.
    """
    target = overlay.applied(values, settings(row, scale, seed))
    flags = [f"-S{flag}" for flag in overlay.flags(values, target)]
    command = ["dvc", "exp", "run", "--queue", "-n", experiment(row, scale, seed), *flags]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        raise BadInput(
            f"DVC does not queue {row.name}: {completed.stderr.strip().splitlines()[-1].removeprefix('ERROR: ')}"
        )
