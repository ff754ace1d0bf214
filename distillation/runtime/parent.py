"""Ending a process together with the one that started it, so that no orphan holds a GPU or writes into an out.

A process is called tied if the kernel kills it when its parent ends (Linux only, ``PR_SET_PDEATHSIG``). If the parent
ended before the tie, the kernel notices nothing: the process has another parent by then. So each tie also compares the
number (PID) of the present parent with that of the rightful one.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PATIENCE = 5.0  # house: seconds; DVC rewrites its record in a millisecond


def tie(parent: int) -> None:
    """Ties this process to its parent, for a worker of a stage.

    If the parent has ended already, this process kills itself (SIGKILL).

    Args:
        parent: the PID of the process that started this one.
    """
    _tie()  # before the comparison: the parent could end between the two
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def tie_to_dvc() -> None:
    """Ties a stage to the DVC process that runs it; a stage that DVC did not start is not tied.

    Each stage calls it when its package is imported. DVC records its own PID before it starts a stage, so the record
    holds the rightful parent even if that was killed before this process had run a line.

    Raises:
        SystemExit: with status 2 and a sentence on stderr, if the parent is no DVC that runs a stage here: DVC has
            ended, or a process such as a shell stands between the two.
    """
    if "DVC_STAGE" not in os.environ:
        return
    _tie()
    if (parent := os.getppid()) not in _running_dvcs():
        print(
            f"error: the dvc that started this stage has ended, or something stands between the two (DVC's record of what "
            f"runs, .dvc/tmp/rwlock, does not name process {parent}): run the same command again.",
            file=sys.stderr,
        )
        sys.exit(2)


def _tie() -> None:
    """Makes the kernel kill this process when its present parent ends; does nothing on a system that cannot."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # no prctl on this system: a kill of dvc alone may leave an orphan
        return


def _running_dvcs() -> set[int]:
    """The PIDs of the DVC processes that run a stage of this repository, by DVC's own record of who writes which out.

    The record is ``.dvc/tmp/rwlock`` of the copy in which DVC runs the experiment; its form is private to DVC (tried
    with 3.67.1). Empty if there is none, or none that reads within five seconds.
    """
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            written = json.loads((root / ".dvc" / "tmp" / "rwlock").read_text(encoding="utf-8")).get("write", {})
            return {holder["pid"] for holder in written.values()}
        except OSError:
            break
        except (ValueError, LookupError, TypeError, AttributeError):  # another dvc is rewriting it
            time.sleep(0.01)
    return set()
