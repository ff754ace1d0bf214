"""Queues again the experiments that were running when their worker or the machine was killed. A command, no stage.

    python -m distillation requeue

Reads   DVC's queue, params.yaml
Writes  DVC's queue. DVC lists an experiment as running although its process is gone; such a one is marked as failed and
        queued again under its name with its parameters. What its stages had finished is not computed again. The exit code
        is 2 if DVC refuses one; the others are queued nevertheless.
"""

import argparse
import subprocess
from typing import Any

from distillation import params as parameters
from distillation.recipes import overlay
from distillation.runtime import dvc_private, process
from distillation.runtime.errors import BadInput, guarded


def run() -> None:
    """Queues every experiment again that DVC lists as running although its process is gone, and prints their names.

    Raises:
        BadInput: DVC refused some of them; the others are queued nevertheless.
    """
    process.begin()
    current, refused = parameters.load().values, {}
    # all are read first: to kill one changes what DVC lists
    lost = {name: _params(revision) for name, revision in dvc_private.abandoned().items()}
    for name, params in lost.items():
        try:
            _requeue(current, name, params)
        except BadInput as error:
            refused[name] = str(error).rstrip(".")
    requeued = [name for name in lost if name not in refused]
    print(f"{len(requeued)} queued again{': ' * bool(requeued)}{', '.join(requeued)}. `dvc queue start -j N` goes on.")
    if refused:
        reasons = "; ".join(f"{name}, as {why}" for name, why in refused.items())
        raise BadInput(f"{len(refused)} of {len(lost)} could not be queued again: {reasons}.")


def _requeue(current: dict[str, Any], name: str, params: dict[str, Any]) -> None:
    """Marks the experiment ``name`` as failed and queues it again with its ``params`` over those of the workspace."""
    _dvc("queue", "kill", name)  # nothing is left to kill: DVC notes that it failed
    flags = overlay.flags(current, params)
    _dvc("exp", "run", "--queue", "--name", name, *(part for flag in flags for part in ("--set-param", flag)))


def _params(revision: str) -> dict[str, Any]:
    """The nested values of the params.yaml of a Git revision."""
    content = subprocess.run(["git", "show", f"{revision}:./params.yaml"], capture_output=True, text=True, check=True)
    values: Any = parameters.parse(content.stdout)
    return values


def _dvc(*arguments: str) -> None:
    """Runs ``dvc`` with these arguments; raises BadInput with the last line of its error if it fails."""
    completed = subprocess.run(["dvc", *arguments], capture_output=True, text=True, check=False)
    if completed.returncode:
        reason = completed.stderr.strip().splitlines()[-1].removeprefix("ERROR: ").rstrip(".")
        raise BadInput(f"`dvc {' '.join(arguments[:2])}` refuses: {reason}.")


def main() -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    return guarded(run)
