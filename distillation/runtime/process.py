"""How a stage's process starts: it dies with its parent, and runs the code of the folder it stands in."""

import ctypes
import os
import signal
from pathlib import Path

from distillation.runtime.errors import BadInput

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent goes, so that no orphan writes into outs (Linux only)."""
    parent = os.getppid()
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # no prctl on this system: a kill of dvc alone may then leave an orphan
        return
    if os.getppid() != parent:  # the parent went before the request was in place
        os.kill(os.getpid(), signal.SIGKILL)


def begin() -> None:
    """Call first in every stage script.

    Raises:
        BadInput: the code imported is not that of this folder although it holds code of its own, as the copy of a queued
            experiment does: the experiment would be recorded with one code and run with another.
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
    """The repository's own folder, also from the copy in which DVC runs a queued experiment."""
    return Path(os.environ.get("DVC_ROOT", "."))
