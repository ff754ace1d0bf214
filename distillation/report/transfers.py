"""Tables for the page of the accuracies that networks pre-trained on the sets reach on other datasets."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distillation.console import format as words
from distillation.report import tables

if TYPE_CHECKING:
    import pandas as pd

    from distillation.report.reading import Measured

# Of kd: column to what it is.
TESTS = {
    "accuracy": "tested in eval mode",
    "batch_accuracy": "tested by the statistics of each test batch, as published",
}
PROTOCOLS = {"finetune": "fine-tuning", "linear": "linear evaluation"}


def section(target: str, measured: "Measured", cell: Callable[[tables.Line | None], Any]) -> list[dict[str, Any]]:
    """Returns the tables of transfer to one target, one for each protocol.

    Args:
        target: name of the dataset.
        measured: its results, with those of the baselines.
        cell: function that formats a line of a summary, or None for a missing one.
    """
    groups = tables.groups_of(measured.rows, "protocol")
    return [_table(f"{target}, {PROTOCOLS[name]}", tables.summary(rows), cell) for name, rows in groups]


def kd_section(target: str, measured: "Measured", cell: Callable[[tables.Line | None], Any]) -> list[dict[str, Any]]:
    """Returns the tables of knowledge distillation for one target, one for each way of testing (``TESTS``).

    Arguments are those of ``section``.
    """
    teacher = measured.info["teacher"]
    title = f"taught by {teacher['network']}, {words.percent(teacher['accuracy'])}"
    return [
        _table(f"{target}, {title}, {test}", tables.summary(measured.rows, column=column), cell)
        for column, test in TESTS.items()
    ]


def _table(title: str, table: "pd.DataFrame", cell: Callable[[tables.Line | None], Any]) -> dict[str, Any]:
    """A summary as a table of the page: a row for each set, a column for each network."""
    networks = list(dict.fromkeys(table["network"]))
    cells = {(line.set, line.network): line for line in tables.lines_of(table)}
    rows = [
        {"set": s, "name": tables.SETS[s], "images": "", "cells": [cell(cells.get((s, n))) for n in networks]}
        for s in dict.fromkeys(table["set"])
    ]
    return {"title": title, "networks": networks, "rows": rows}
