"""One progress line for a loop: rate, time left, and the curve of its first value."""

import itertools
import math
import sys

from tqdm import tqdm

from distillation.console.live import Live

TERMINAL, LOG = 0.2, 10.0  # seconds between two sights of the same bar
WIDTH = 16  # columns of a sparkline
BLOCKS = "▁▂▃▄▅▆▇█"


class Progress:
    """A context manager that shows how far a loop is, on stderr, and changes nothing else.

    On a terminal it is one live bar. In a log it is a whole line every ten seconds, and none at all for a loop that
    was shorter. Every method returns None, so that a stage cannot come to depend on what is shown.

    Args:
        label: what is being done.
        total: steps of the whole loop.
        start: steps that were done before (an interrupted run that goes on).
        unit: the word for one step.
        show: False shows nothing.
        live: path of a CSV that follows the values; see ``Live``.

    Example:
        >>> with Progress("distil", 1000, unit="update") as bar:
        ...     bar.advance(loss=0.25)
    """

    def __init__(self, label, total, start=0, unit="it", show=True, live=None):
        self._bar = (_Bar if sys.stderr.isatty() else _Lines)(label, total, start, unit, not show)
        self._live = Live(live) if live else None
        self._step = start

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def advance(self, n=1, **values):
        """Count ``n`` steps. ``values`` are numbers or one-element tensors, and are read only when they are shown."""
        self._step += n
        self._bar.latest = values
        self._bar.update(n)
        if self._live:
            self._live.add(self._step, **values)

    def note(self, text):
        """Print a line above the bar."""
        if not self._bar.disable:
            tqdm.write(text, file=sys.stderr)


class _Bar(tqdm):
    """A live bar whose postfix is made when it is drawn, so that a loop does not wait for its values to be read."""

    monitor_interval = 0  # no thread that watches over slow loops: it would outlive the bar
    every, wait = TERMINAL, 0.0

    def __init__(self, label, total, start, unit, disable):
        self.latest, self.history = {}, History()
        super().__init__(
            desc=label,
            total=total,
            initial=start,
            unit=unit,
            disable=disable,
            file=self.stream(),
            mininterval=self.every,
            miniters=1,
            delay=self.wait,
            dynamic_ncols=True,
            bar_format=self.layout,
        )

    layout = None

    def stream(self):
        return sys.stderr

    def display(self, *args, **kwargs):
        values = {name: float(value) for name, value in self.latest.items()}
        if values:
            self.history.add(next(iter(values.values())))
            shown = ", ".join(f"{name}={value:.4g}" for name, value in values.items())
            self.postfix = f"{shown} {sparkline(self.history.values)}"
        return super().display(*args, **kwargs)


class _Lines(_Bar):
    """The same as whole lines, for a log."""

    every = wait = LOG
    layout = "{desc}: {n_fmt}/{total_fmt} ({percentage:.0f}%) [{elapsed}<{remaining}, {rate_fmt}{postfix}]"

    def stream(self):
        return _LineFile()


class _LineFile:
    """stderr without carriage returns: what a bar draws over and over becomes a line."""

    encoding = "utf-8"

    def write(self, text):
        if text.strip():
            sys.stderr.write(text.strip() + "\n")

    def flush(self):
        sys.stderr.flush()


class History:
    """A curve of at most ``size`` points; when it is full two neighbours become their mean, so it never forgets."""

    def __init__(self, size=256):
        self.values, self._size, self._stride, self._open = [], size, 1, []

    def add(self, value):
        self._open.append(value)
        if len(self._open) < self._stride:
            return
        self.values.append(sum(self._open) / len(self._open))
        self._open = []
        if len(self.values) == self._size:
            self.values = [(a + b) / 2 for a, b in zip(self.values[::2], self.values[1::2], strict=True)]
            self._stride *= 2


def sparkline(values, width=WIDTH):
    """A curve of at most ``width`` block characters, lowest to highest; what is not finite is a dot."""
    values = list(values)
    groups = min(width, len(values))
    cuts = [i * len(values) // groups for i in range(groups + 1)] if values else []
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    finite = [m for m in means if math.isfinite(m)]
    low, span = (min(finite), max(finite) - min(finite)) if finite else (0, 0)

    def block(mean):
        if not math.isfinite(mean):
            return "·"
        return BLOCKS[round((mean - low) / span * (len(BLOCKS) - 1))] if span else BLOCKS[0]

    return "".join(block(mean) for mean in means)
