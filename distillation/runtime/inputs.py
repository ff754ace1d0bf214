"""What a stage depends on, as DVC itself sees it."""

import hashlib
import json
import os

from distillation.runtime.errors import BadInput


def stage_inputs(name):
    """Command, parameters and the hash of every dep of a stage of dvc.yaml in the current folder.

    Returns:
        A flat dict, dotted parameter keys prefixed ``params:`` and paths prefixed ``deps:``. Files that DVC has hashed
        before cost one stat each.

    Raises:
        BadInput: a dep is missing, so that the stage before it has to run first.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.stage.serialize import to_single_stage_lockfile

    try:
        with Repo(os.getcwd()) as repo:  # not $DVC_ROOT: a queued experiment runs in a copy
            (stage,) = repo.stage.collect(name)
            stage.save_deps()
            record = to_single_stage_lockfile(stage)
    except DvcException as error:
        raise BadInput(
            f"the inputs of {name} are not complete: {str(error).rstrip('.')}; run `dvc repro` first."
        ) from error
    found = {"cmd": record["cmd"]}
    for dep in record.get("deps", []):
        found[f"deps:{dep['path']}"] = dep["md5"]
    for values in record.get("params", {}).values():
        found.update(_leaves(values, "params:"))
    return found


def _leaves(values, prefix):
    found = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found.update(_leaves(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def digest(value):
    """16 hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
