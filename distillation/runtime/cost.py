"""The cost of each out and the tasks behind it, kept beside the pipeline: times differ between runs, so no out holds them."""

from pathlib import Path

from distillation.runtime import files, process
from distillation.runtime.dvc_hash import dvc_hash
from distillation.runtime.locks import locked
from distillation.runtime.work import Task, work_folder


def path() -> Path:
    """The path of the record of all outs, which maps the md5 of an out to its entry (see ``record``)."""
    return process.root() / "reports" / "cost.json"


def record(stage: str, out: str | Path, tasks: list[Task], reused: list[Task]) -> None:
    """Adds ``out`` to the record: the seconds of its tasks, summed over all runs, and their folders.

    An out without tasks is not recorded.

    Args:
        stage: name of the stage.
        out: file or folder of the out.
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
    with locked(work_folder().with_name("cost.lock")):
        entries = files.load_json(path()) if path().is_file() else {}
        entries[dvc_hash(out)] = entry
        files.save_json(path(), entries)
