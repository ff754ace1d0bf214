"""A CSV of losses that users can watch while a stage runs: ``live.csv`` in a task's folder."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distillation.runtime.files import regular

if TYPE_CHECKING:
    from torch import Tensor

EVERY = 1.0  # house: minimum seconds between two rows


class Live:
    """A CSV file that gains a row (``step`` and the values) at most once a second.

    The first values determine the columns; later values of other names are left out. A resumed run appends to the file;
    a run with other columns overwrites it. The file is part of no out: its rows depend on the clock.

    Args:
        path: the file; it and its folder are created with the first row.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._columns = None
        self._due = 0.0

    def add(self, step: int, **values: "float | Tensor") -> None:
        """Appends a row unless the last is younger than a second, or there is no value.

        Args:
            step: number of steps so far.
            **values: numbers or one-element tensors by column; tensors are read only if a row is written, as to read
                one waits for the device.
        """
        if not values or time.monotonic() < self._due:  # the first values give the columns
            return
        self._due = time.monotonic() + EVERY
        if self._columns is None:
            self._columns = ["step", *values]
            self._begin(self._columns)
        self._write("a", [step, *(f"{float(values[c]):.6g}" if c in values else "" for c in self._columns[1:])])

    def _begin(self, columns: list[str]) -> None:
        """Writes the header, unless the file begins with the same one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        header = ",".join(columns)
        if not self._path.exists() or not regular(self._path).read_text(encoding="utf-8").startswith(header + "\n"):
            self._write("w", columns)

    def _write(self, mode: str, row: Sequence[object]) -> None:
        with open(self._path, mode, encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
