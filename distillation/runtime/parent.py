"""The tie of a process to the one that started it: whoever is killed, no orphan holds a GPU or writes into an out.

The kernel kills a tied process when its parent ends (Linux only). That does not help a process whose parent ended before
the tie: it has another parent by then, before and after. So the tie has to know the number of the rightful parent.
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
    """Makes the kernel kill this process when the process ``parent`` ends, or kills it if ``parent`` has ended."""
    _tie()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def tie_to_dvc() -> None:
    """Ties a stage to the DVC that runs it; a stage that DVC did not start is tied to nobody.

    DVC records its own number before it starts a stage, so the record holds the rightful parent even if that was killed
    before this process had run a line.

    Raises:
        SystemExit: the parent is no DVC that runs a stage here: it has ended.
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
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # no prctl on this system: a kill of dvc alone may leave an orphan
        return


def _running_dvcs() -> set[int]:
    """The processes that hold an out of this repository for writing: those of DVC that run a stage, as it records itself.

    The file is DVC's own; tried with DVC 3.67.1. It lies in the ``.dvc`` of the copy in which DVC runs an experiment.
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
