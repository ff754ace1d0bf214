"""Queue again the experiments that were running when their worker or the machine was killed. A command, no stage.

Reads   DVC's queue, params.yaml
Writes  DVC's queue: what DVC still shows as running, though nothing runs it, is noted as failed and waits again under its
        name with its parameters. What its stages had finished is not computed again.
"""

import argparse
import contextlib
import os
import subprocess
import sys

from stages import params as parameters
from stages.published import overlay
from stages.runtime import process
from stages.runtime.errors import BadInput, guarded


def run():
    process.begin()
    here, lost = parameters.load().values, abandoned()
    for name, params in lost.items():
        _dvc("queue", "kill", name)  # nothing is left to kill: DVC notes that it failed
        flags = overlay.flags(here, params)
        _dvc("exp", "run", "--queue", "--name", name, *(part for flag in flags for part in ("--set-param", flag)))
    print(f"{len(lost)} queued again{': ' * bool(lost)}{', '.join(lost)}. `dvc queue start -j N` goes on.")


def abandoned():
    """Name to parameters of the experiments that DVC shows as running while their process is gone."""
    from dvc.repo import Repo

    with Repo() as repo:
        queue = repo.experiments.celery_queue
        lost = [entry for entry in queue.iter_active() if not _alive(queue.proc.get(entry.stash_rev))]
        return {entry.name or entry.stash_rev[:7]: _params(entry.stash_rev) for entry in lost}


def _alive(running):
    if running is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, 0)
        return True
    return False


def _params(revision):
    shown = subprocess.run(["git", "show", f"{revision}:./params.yaml"], capture_output=True, text=True, check=True)
    return parameters.parse(shown.stdout)


def _dvc(*arguments):
    done = subprocess.run(["dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1].removeprefix("ERROR: ").rstrip(".")
        raise BadInput(f"`dvc {' '.join(arguments[:2])}` refuses: {said}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sys.exit(guarded(run))
