"""Ctrl-C and SIGTERM end a process with one line instead of a traceback, also while its modules are imported."""

import os
import signal
from types import FrameType


def end_in_a_sentence() -> None:
    """Makes SIGINT (Ctrl-C) and SIGTERM end this process by SystemExit, after one line on stderr.

    SystemExit lets ``finally`` blocks remove temporary files. The exit status is what shells expect, 128 plus the
    number of the signal: 130 or 143. A second signal of the same kind kills at once. A signal that is ignored, as
    SIGINT is in a shell's background jobs, stays ignored.
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
