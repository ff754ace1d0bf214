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
    """A table for each protocol of one target; ``cell`` formats a line of a summary, None for a missing one."""
    groups = tables.groups_of(measured.rows, "protocol")
    return [_table(f"{target}, {PROTOCOLS[name]}", tables.summary(rows), cell) for name, rows in groups]


def kd_section(target: str, measured: "Measured", cell: Callable[[tables.Line | None], Any]) -> list[dict[str, Any]]:
    """A table for each way in which students of a teacher of the target were tested (``TESTS``)."""
    teacher = measured.info["teacher"]
    title = f"taught by {teacher['network']}, {words.percent(teacher['accuracy'])}"
    return [
        _table(f"{target}, {title}, {test}", tables.summary(measured.rows, column=column), cell)
        for column, test in TESTS.items()
    ]


def _table(title: str, table: "pd.DataFrame", cell: Callable[[tables.Line | None], Any]) -> dict[str, Any]:
    networks = list(dict.fromkeys(table["network"]))
    cells = {(line.set, line.network): line for line in tables.lines_of(table)}
    rows = [
        {"set": s, "name": tables.SETS[s], "images": "", "cells": [cell(cells.get((s, n))) for n in networks]}
        for s in dict.fromkeys(table["set"])
    ]
    return {"title": title, "networks": networks, "rows": rows}
