"""One progress line for a loop: rate, time left, values such as the loss, and the curve of the first of them."""

import itertools
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from tqdm import tqdm

from distillation.console.live import Live

if TYPE_CHECKING:
    from torch import Tensor

TERMINAL, LOG = 0.2, 10.0  # house: seconds between two updates of a bar on a terminal and in a log
WIDTH = 16  # columns of a sparkline
BLOCKS = "▁▂▃▄▅▆▇█"


class Progress:
    """A context manager that shows how far a loop is, on stderr, and changes nothing else.

    On a terminal it is one live bar. In a log it is a whole line every ten seconds, and none at all for a shorter loop.
    No method returns anything that a result could depend on.

    Args:
        label: the name of the loop.
        total: steps of the whole loop.
        start: steps that an earlier, interrupted run completed.
        unit: the word for one step, like ``epoch``.
        show: whether anything is shown; a CSV is written in either case.
        live: path of a CSV that records the values (see ``Live``); None: none is written.

    Example:
        >>> with Progress("distil", 1000, unit="update") as bar:
        ...     bar.advance(loss=0.25)
    """

    def __init__(
        self,
        label: str,
        total: int,
        start: int = 0,
        unit: str = "it",
        show: bool = True,
        live: str | Path | None = None,
    ) -> None:
        self._bar = (_Bar if sys.stderr.isatty() else _Lines)(label, total, start, unit, not show)
        self._live = Live(live) if live else None
        self._step = start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, n: int = 1, **values: "float | Tensor") -> None:
        """Counts ``n`` completed steps and, if it is time, redraws the bar.

        Args:
            n: number of steps since the last call.
            **values: numbers or one-element tensors by name, such as ``loss``. A tensor is read only when it is shown,
                as to read it waits for the device.
        """
        self._step += n
        self._bar.latest = values  # before the update, which draws them
        self._bar.update(n)
        if self._live:
            self._live.add(self._step, **values)

    def note(self, text: str) -> None:
        """Prints a line above the bar, unless the bar is not shown."""
        if not self._bar.disable:
            tqdm.write(text, file=sys.stderr)


class _Bar(tqdm):
    """A live bar whose postfix is computed only when it is drawn, so that a loop never waits for the device."""

    monitor_interval = 0  # no thread that monitors slow loops: it would outlive the bar
    every, wait = TERMINAL, 0.0

    def __init__(self, label: str, total: int, start: int, unit: str, disable: bool) -> None:
        self.latest, self.history = {}, History()
        super().__init__(
            desc=label,
            total=total,
            initial=start,
            unit=unit,
            disable=disable,
            file=self.stream(),
            mininterval=self.every,
            miniters=1,  # by time alone: tqdm's own estimate of steps between updates is late when a loop slows down
            delay=self.wait,
            dynamic_ncols=True,
            bar_format=self.layout,
        )

    layout = None

    def stream(self) -> "TextIO | _LineFile":
        """The file that the bar is written to."""
        return sys.stderr

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draws the bar with the latest values and the curve of the first."""
        values = {name: float(value) for name, value in self.latest.items()}
        if values:
            self.history.add(next(iter(values.values())))
            text = ", ".join(f"{name}={value:.4g}" for name, value in values.items())
            self.postfix = f"{text} {sparkline(self.history.values)}"
        return super().display(msg, pos)


class _Lines(_Bar):
    """A bar as whole lines, for a log."""

    every = wait = LOG
    layout = "{desc}: {n_fmt}/{total_fmt} ({percentage:.0f}%) [{elapsed}<{remaining}, {rate_fmt}{postfix}]"

    def stream(self) -> "TextIO | _LineFile":
        """The file that the lines are written to."""
        return _LineFile()


class _LineFile:
    """stderr without carriage returns: each redrawn bar becomes a line."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        """Writes a text as one line, unless it is blank."""
        if text.strip():
            sys.stderr.write(text.strip() + "\n")

    def flush(self) -> None:
        """Flushes stderr."""
        sys.stderr.flush()


class History:
    """A curve of bounded length over a whole loop: when it is full, pairs of neighbours are replaced by their means.

    So each point is the mean of equally many values, 1, 2, 4 and so on, and the memory does not grow with the loop.

    Attributes:
        values: the points, fewer than ``size``.

    Args:
        size: the length at which the curve is halved; even.
    """

    def __init__(self, size: int = 256) -> None:
        self.values, self._size, self._stride, self._open = [], size, 1, []

    def add(self, value: float) -> None:
        """Adds the next value."""
        self._open.append(value)
        if len(self._open) < self._stride:
            return
        self.values.append(sum(self._open) / len(self._open))
        self._open = []
        if len(self.values) == self._size:
            self.values = [(a + b) / 2 for a, b in zip(self.values[::2], self.values[1::2], strict=True)]
            self._stride *= 2


def sparkline(values: Iterable[float], width: int = WIDTH) -> str:
    """Draws a curve as a line of text.

    Args:
        values: the points of the curve, such as ``History.values``.
        width: the most characters.

    Returns:
        A block character of eight heights for each group of neighbouring points, by their mean: the lowest mean has the
        lowest block. A mean that is not finite is a dot. Empty without values.
    """
    values = list(values)
    groups = min(width, len(values))
    cuts = [i * len(values) // groups for i in range(groups + 1)] if values else []
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    finite = [m for m in means if math.isfinite(m)]
    low, span = (min(finite), max(finite) - min(finite)) if finite else (0, 0)

    def block(mean: float) -> str:
        if not math.isfinite(mean):
            return "·"
        return BLOCKS[round((mean - low) / span * (len(BLOCKS) - 1))] if span else BLOCKS[0]

    return "".join(block(mean) for mean in means)
