"""Results of experiments, revisions and the workspace: their parameters and metrics, which Git holds."""

import copy
import json
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distillation.params import parse
from distillation.runtime import dvc_private
from distillation.runtime.errors import BadInput

WORKSPACE, HEAD = "workspace", "HEAD"
_READERS = {"params.yaml": parse, "reports/metrics.json": json.loads, "dvc.lock": parse}


@dataclass(frozen=True)
class Result:
    """Parameters and metrics of one run.

    Attributes:
        name: of the experiment or revision; several names if they hold the same. The suffix ``(not reproduced)`` marks
            metrics that do not belong to the parameters.
        params: dotted path to value, of the whole params.yaml.
        metrics: dotted path to value, of reports/metrics.json; empty if the run left none.
        reproduced: whether the metrics may belong to the parameters.
    """

    name: str
    params: dict[str, Any]
    metrics: dict[str, Any]
    reproduced: bool = True


def read(names: Collection[str] = (), every: bool = False) -> list[Result]:
    """Reads results, each distinct one once, in order.

    Args:
        names: experiments, revisions or ``workspace``. If empty: HEAD, its experiments and the workspace.
        every: whether the experiments of all commits are read, not of HEAD alone.

    Raises:
        BadInput: a name is unknown, or a file in a revision cannot be parsed.
    """
    experiments = dvc_private.experiments(every or bool(names))
    revisions = names or [HEAD, *experiments, WORKSPACE]
    # by content: an experiment that was applied and committed is one result, with several names
    distinct = {}
    for name in revisions:
        texts = _texts(name, experiments)
        params, metrics, lock = (_parsed(reader, texts, name, file) for file, reader in _READERS.items())
        params, metrics = flat(params), flat(metrics)
        key = repr((params, metrics))
        label = f"{distinct[key].name}, {name}" if key in distinct else name
        distinct[key] = Result(label, params, metrics, _of_one_run(params, lock.get("stages", {})))
    return [_marked(result) for result in distinct.values()]


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """A nested mapping as dotted path to value; lists stay whole."""
    leaves = {}
    for key, value in values.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{before}{key}.")
        else:
            leaves[f"{before}{key}"] = value
    return leaves


def nested(settings: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The inverse of ``flat``: a nested mapping of settings by dotted path, over a copy of ``values`` if given."""
    tree: Any = copy.deepcopy(values or {})
    for path, value in settings.items():
        *above, last = path.split(".")
        node = tree
        for key in above:
            if not isinstance(node.get(key), dict):
                node[key] = {}
            node = node[key]
        node[last] = copy.deepcopy(value)
    return tree


def _of_one_run(params: Mapping[str, Any], stages: Mapping[str, Any]) -> bool:
    """Whether the stages of a dvc.lock ran with these parameters, each on the outs of the others; True for an empty lock.

    False if one stage alone was rerun, or if parameters were committed that were never run.
    """
    # the stage check depends on every section, so its record has all parameters of the last run
    own_params = flat(stages.get("check", {}).get("params", {}).get("params.yaml", {}))
    current = [stage for name, stage in stages.items() if "@" not in name or name.partition("@")[2] in _keys(params)]
    written = {out["path"]: out.get("md5") for stage in current for out in stage.get("outs", [])}
    read = [(dep["path"], dep.get("md5")) for stage in current for dep in stage.get("deps", [])]
    unchanged = all(params.get(path) == value for path, value in own_params.items())
    return unchanged and all(written.get(path, md5) == md5 for path, md5 in read)


def _keys(params: Mapping[str, Any]) -> set[str]:
    """The names of pools, sources, targets and protocols; DVC keeps stages in its lock after their names are gone."""
    entries = [name for path in ("evaluate.protocols", "evaluate.assess.teachers") for name in params.get(path) or []]
    maps = "teacher.", "sources.", "targets."
    return {*entries, *(path.split(".")[1] for path in params if path.startswith(maps))}


def _marked(result: Result) -> Result:
    """The result, renamed if its metrics do not belong to its parameters."""
    stale = result.name == WORKSPACE and dvc_private.status()
    if stale or not result.reproduced:
        return replace(result, name=f"{result.name} (not reproduced)", reproduced=False)
    return result


def _texts(name: str, experiments: Mapping[str, str]) -> dict[str, str]:
    """The text of each file that exists in a revision or in the workspace, by path."""
    if name == WORKSPACE:
        return {file: Path(file).read_text(encoding="utf-8") for file in _READERS if Path(file).is_file()}
    revision = experiments.get(name, name)
    if _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").returncode:
        alternatives = ", ".join([HEAD, *experiments, WORKSPACE])
        raise BadInput(
            f"{name!r} is neither an experiment nor a revision of this repository; there are {alternatives}."
        )
    # without --end-of-options a name that begins with - would be an option of Git
    outputs = {file: _git("show", "--end-of-options", f"{revision}:./{file}") for file in _READERS}
    return {file: completed.stdout for file, completed in outputs.items() if completed.returncode == 0}


def _git(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *args], capture_output=True, text=True, check=False)


def _parsed(reader: Callable[[str], Any], texts: Mapping[str, str], name: str, file: str) -> dict[str, Any]:
    if file not in texts:
        return {}
    try:
        values = reader(texts[file])
    except (ValueError, BadInput) as error:
        raise BadInput(f"{file} of {name} does not read: {str(error).rstrip('.')}.") from error
    if not isinstance(values, dict):
        raise BadInput(f"{file} of {name} is no mapping.")
    return values
