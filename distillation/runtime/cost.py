"""What an out cost and which work made it, kept beside the pipeline: times differ from run to run, so no out has them."""

from pathlib import Path

from distillation.runtime import files, process
from distillation.runtime.dvc_hash import dvc_hash
from distillation.runtime.locks import locked
from distillation.runtime.work import Task, work_folder


def path() -> Path:
    """The record of all outs: md5 of the out to its entry (see ``record``)."""
    return process.root() / "reports" / "cost.json"


def record(stage: str, out: str | Path, tasks: list[Task], reused: list[Task]) -> None:
    """Adds ``out`` to the record: the sum of seconds over its finished tasks, also of earlier runs, and their folders.

    ``reused`` are those that were found finished. An out that took no task is in no record.
    """
    if not tasks:
        return
    costs = [files.load_json(task.finished() / "cost.json") for task in tasks]
    entry = {
        "stage": stage,
        "seconds": round(sum(cost["seconds"] for cost in costs), 1),
        "tasks": len(costs),
        "device": sorted({cost["device"] for cost in costs}),
        "torch": sorted({cost["torch"] for cost in costs}),
        "work": [task.folder.name for task in tasks],
        "reused": [task.folder.name for task in reused],
    }
    with locked(work_folder().with_name("cost.lock")):
        known = files.load_json(path()) if path().is_file() else {}
        known[dvc_hash(out)] = entry
        files.save_json(path(), known)
