"""One part of a comparison: a table for people, the same for programs, and perhaps a figure."""

from dataclasses import dataclass

import pandas as pd

from distillation.report.figures import Draw


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: stem of its files, such as ``claims.csv``.
        title: heading.
        note: explanation below the table.
        shown: the table as text, a column of names first; without rows if there is nothing to show.
        values: the table as numbers, written as CSV.
        draw: function of a palette that draws a figure; None if there is none.
    """

    name: str
    title: str
    note: str
    shown: pd.DataFrame
    values: pd.DataFrame
    draw: Draw | None = None
