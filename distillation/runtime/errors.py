"""Errors that users can mend. A stage or command reports them in one sentence, without a traceback, by ``guarded``."""

import errno
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from distillation.runtime.text import one_line


class BadInput(Exception):
    """Invalid input of a user; the message is one sentence that names the fault and its cure."""


class Diverged(BadInput):
    """A loss, or images, are no longer finite (NaN or infinite), so that the computation cannot go on.

    The driver (``runtime.stage``) removes the task's checkpoint: a run that resumed from it would end the same way.

    Attributes:
        task: the Task that diverged, where several are computed at once; else None.
    """

    task: Any = None


def require_finite(values: Mapping[str, float], moment: str, lower: str) -> None:
    """Raises Diverged for the first of the recorded ``values`` that is not finite.

    For loops that train or distil. They call it with numbers that they have copied from the device anyway to record
    them: a check of every step would make every step wait for the device.

    Args:
        values: losses and the like, by the name that the message gives them.
        moment: where in the loop they were recorded, as ``epoch 3 of 100``.
        lower: the settings to lower, as in params.yaml, for the message.

    Raises:
        Diverged: a value is NaN or infinite.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} at {moment}: lower {lower}.")


def guarded(run: Callable[..., object], *args: object) -> int:
    """Calls ``run(*args)`` and turns errors that users can mend into one sentence on stderr.

    These are BadInput and errors of the disk (full, over quota, read-only, no permission). Any other exception passes
    with its traceback: it is a fault of the code.

    Args:
        run: the body of a stage script or command.
        *args: its arguments.

    Returns:
        The exit status of the process: 0, or 2 after such a sentence.
    """
    try:
        run(*args)
    except BadInput as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        place = f" ({one_line(str(error.filename))})" if error.filename else ""
        print(f"error: {error.strerror}{place}; nothing half-written was left behind.", file=sys.stderr)
        return 2
    return 0
