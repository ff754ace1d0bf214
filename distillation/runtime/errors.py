"""Errors that users can mend, reported in one sentence."""

import errno
import sys
from collections.abc import Callable


class BadInput(Exception):
    """Invalid input of a user; the message is one sentence that names the fault and its cure."""


def guarded(run: Callable[..., object], *args: object) -> int:
    """Calls ``run(*args)`` and returns an exit status: 0, or 2 after one sentence on stderr.

    Only a BadInput and errors of the disk (full, over quota, read-only, no permission) end in a sentence; others pass.
    """
    try:
        run(*args)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        place = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror}{place}; nothing half-written was left behind.", file=sys.stderr)
        return 2
    return 0
