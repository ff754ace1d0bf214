"""Bad input, said in one sentence."""

import errno
import sys


class BadInput(Exception):
    """Something a person gave is wrong; the message is one sentence that says what would be right."""


def guarded(run, *args):
    """Exit status of ``run(*args)``: 0, or 2 after the sentence of a BadInput or of a full disk on stderr."""
    try:
        run(*args)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror}{where}; nothing half-written was left behind.", file=sys.stderr)
        return 2
    return 0
