"""The record of costs, ``reports/cost.json``: seconds and tasks behind each out.

It is no out itself, and no out holds times: they differ between runs, and DVC would take the same result for another.
"""

import sys
from pathlib import Path
from typing import Any

from distillation.runtime import files, process
from distillation.runtime.dvc_hash import dvc_hash
from distillation.runtime.errors import BadInput
from distillation.runtime.locks import locked
from distillation.runtime.work import Task, work_folder


def path() -> Path:
    """The path of the record of all outs, which maps the md5 of an out to its entry (see ``record``)."""
    return process.root() / "reports" / "cost.json"


def read(place: Path) -> dict[str, dict[str, Any]]:
    """Reads the record of all outs.

    Args:
        place: the path of the record.

    Returns:
        The entry of each out (see ``record``) by the out's md5; empty if there is no such file.

    Raises:
        BadInput: the file is damaged.
    """
    if not place.exists():
        return {}
    entries = files.load_json(place)
    if not isinstance(entries, dict) or not all(map(_is_entry, entries.values())):
        raise BadInput(f"{place} is no record of costs: remove it, and the next runs write it again.")
    return entries


def _is_entry(entry: object) -> bool:
    """Whether an entry has what other code reads of it: ``seconds``, and lists of names as ``work`` and ``reused``."""
    if not isinstance(entry, dict) or not isinstance(entry.get("seconds"), int | float):
        return False
    lists = [entry.get(name, []) for name in ("work", "reused")]
    return all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists)


def record(stage: str, out: str | Path, tasks: list[Task], reused: list[Task]) -> None:
    """Adds an out to the record ``reports/cost.json``, under the md5 of its content.

    The entry has ``stage``; ``seconds``, the work of all its tasks, interrupted runs included; ``tasks``, their number;
    ``device`` and ``torch``, lists of what they ran on; ``work`` and ``reused``, names of task folders. An out without
    tasks is not recorded. A damaged record is set aside with a note on stderr, and a new one begins.

    Args:
        stage: name of the stage.
        out: file or folder of the out, which is written already.
        tasks: the finished tasks behind the out.
        reused: those of ``tasks`` that an earlier run had finished.
    """
    if not tasks:
        return
    costs = [files.load_json(task.done / "cost.json") for task in tasks]
    entry = {
        "stage": stage,
        "seconds": round(sum(cost["seconds"] for cost in costs), 1),
        "tasks": len(costs),
        "device": sorted({cost["device"] for cost in costs}),
        "torch": sorted({cost["torch"] for cost in costs}),
        "work": [task.folder.name for task in tasks],
        "reused": [task.folder.name for task in reused],
    }
    with locked(work_folder().with_name("cost.lock")):  # stages of several experiments add to one record
        try:
            entries = read(path())
        except BadInput as error:
            place = files.set_aside(path())
            print(f"note: {str(error).rstrip('.')}; it is set aside as {place}.", file=sys.stderr)
            entries = {}
        entries[dvc_hash(out)] = entry
        files.save_json(path(), entries)
