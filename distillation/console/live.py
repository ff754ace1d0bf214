"""A CSV that a person can watch while a stage runs."""

import csv
import time
from pathlib import Path

EVERY = 1.0  # seconds between two rows


class Live:
    """Appends rows (``step`` and the values) to ``path``, at most one a second.

    A run that goes on after an interruption adds to the file; one with other columns starts it anew. It is no out of
    any stage: which rows it holds depends on the clock.
    """

    def __init__(self, path):
        self._path = Path(path)
        self._columns = None
        self._due = 0.0

    def add(self, step, **values):
        """A row, unless the last is younger than a second or there is no value. Values are numbers or one-element tensors."""
        if not values or time.monotonic() < self._due:  # the first values give the columns
            return
        self._due = time.monotonic() + EVERY
        if self._columns is None:
            self._columns = ["step", *values]
            self._begin()
        self._write("a", [step, *(f"{float(values[c]):.6g}" if c in values else "" for c in self._columns[1:])])

    def _begin(self):
        self._path.parent.mkdir(parents=True, exist_ok=True)
        header = ",".join(self._columns)
        if not self._path.is_file() or not self._path.read_text(encoding="utf-8").startswith(header + "\n"):
            self._write("w", self._columns)

    def _write(self, mode, row):
        with open(self._path, mode, encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
