"""One part of a comparison: a table for people, the same for programs, and perhaps a figure."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: of its files.
        title, note: what it is, and what to know of it.
        shown: the table in words, a column of names first.
        values: the table in numbers, written as CSV.
        draw: function of a palette that gives a figure; None where there is nothing to draw.
    """

    name: str
    title: str
    note: str
    shown: pd.DataFrame
    values: pd.DataFrame
    draw: Callable | None = None
