"""Ctrl-C and SIGTERM: one line and the status that a shell expects, at any moment, also while modules are imported."""

import os
import signal
from types import FrameType


def end_in_a_sentence() -> None:
    """Makes SIGINT and SIGTERM end this process: temporary files are removed, the status is 130 or 143.

    A second signal kills. A signal that is ignored, as SIGINT is in a shell's background jobs, stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    start = "\n" if os.isatty(2) else ""  # below a progress bar or a terminal's ^C
    line = f"{start}stopped by {signal.Signals(number).name}: the same command goes on from what is finished.\n"
    os.write(2, line.encode())  # print may have been interrupted itself
    raise SystemExit(128 + number)
