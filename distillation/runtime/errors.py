"""Errors that users can mend, reported in one sentence."""

import errno
import math
import sys
from collections.abc import Callable, Mapping

from distillation.runtime.text import one_line


class BadInput(Exception):
    """Invalid input of a user; the message is one sentence that names the fault and its cure."""


class Diverged(BadInput):
    """Numbers of a computation are no longer finite. It would end the same from its last checkpoint, which goes with it."""


def require_finite(values: Mapping[str, float], moment: str, lower: str) -> None:
    """Raises Diverged for the first of the recorded ``values`` that is not finite.

    It reads numbers that a loop has recorded anyway, so that no step waits for the device.

    Args:
        values: numbers by name.
        moment: where in the loop they were recorded, as ``epoch 3 of 100``.
        lower: the settings to lower, as in params.yaml.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} at {moment}: lower {lower}.")


def guarded(run: Callable[..., object], *args: object) -> int:
    """Calls ``run(*args)`` and returns an exit status: 0, or 2 after one sentence on stderr.

    Only a BadInput and errors of the disk (full, over quota, read-only, no permission) end in a sentence; others pass.
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
