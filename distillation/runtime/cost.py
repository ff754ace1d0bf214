"""What an out cost, kept beside the pipeline: times differ from run to run, so they are no part of any out."""

import fcntl
import hashlib
import json
from pathlib import Path

from distillation.runtime import files, process


def dvc_hash(path):
    """The md5 by which DVC names a file or (``.dir``) a folder."""
    path = Path(path)
    if path.is_file():
        return _md5(path)
    found = sorted((f.relative_to(path).parts, f) for f in path.rglob("*") if f.is_file())
    listing = [{"md5": _md5(file), "relpath": "/".join(parts)} for parts, file in found]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def record(stage, out, tasks):
    """Add to ``reports/cost.json`` what ``out`` cost: the sum over its finished tasks, also of earlier runs."""
    costs = [json.loads((task.finished() / "cost.json").read_text()) for task in tasks]
    entry = {
        "stage": stage,
        "seconds": round(sum(cost["seconds"] for cost in costs), 1),
        "tasks": len(costs),
        "device": sorted({cost["device"] for cost in costs}),
        "torch": sorted({cost["torch"] for cost in costs}),
    }
    path = process.root() / "reports" / "cost.json"
    path.parent.mkdir(exist_ok=True)
    with open(process.root() / ".dvc" / "tmp" / "cost.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(path.read_text()) if path.is_file() else {}
        known[dvc_hash(out)] = entry
        files.save_json(path, known)
