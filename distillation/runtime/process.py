"""The start of a stage's process: it dies with its parent and runs the code of its working directory."""

import ctypes
import os
import signal
from pathlib import Path

from distillation.runtime.errors import BadInput

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Makes the kernel kill this process when its parent ends, so that no orphan writes into outs (Linux only)."""
    parent = os.getppid()
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # no prctl on this system: a kill of dvc alone may leave an orphan
        return
    if os.getppid() != parent:  # the parent ended before the request was in place
        os.kill(os.getpid(), signal.SIGKILL)


def begin() -> None:
    """Ties this process to its parent and checks whose code it runs; the first call of every stage script.

    Raises:
        BadInput: this folder has code of its own, as the copy of a queued experiment does, but other code was imported:
            the experiment would be recorded with one code and run with another.
    """
    staged = "DVC_STAGE" in os.environ
    if staged:
        die_with_parent()
    code = Path(__file__).resolve().parents[2]
    if code != Path.cwd() and (staged or Path("distillation").is_dir()):
        raise BadInput(
            f"this run would use the code of {code}, not of {Path.cwd()}: run stages from the repository's root."
        )


def root() -> Path:
    """The repository's own folder, also in the copy in which DVC runs a queued experiment."""
    return Path(os.environ.get("DVC_ROOT", "."))
