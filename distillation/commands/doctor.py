"""Reports whether this machine and this repository are ready, and what `dvc repro` would cost. A command, no stage.

    python -m distillation doctor

Reads   params.yaml, dvc.yaml, dvc.lock, reports/cost.json; contacts the remotes
Writes  nothing; the exit code is 2 if something has to be put right first
"""

import argparse
import shutil
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLong
from pathlib import Path
from typing import Any

import torch

from distillation import params as parameters
from distillation.checks import check_all, processor
from distillation.checks.workspace import not_copied
from distillation.console import format as words
from distillation.datasets.catalogue import CATALOGUE
from distillation.datasets.downloads import by_hand, locate
from distillation.runtime import cost, dvc_private, process, tasks
from distillation.runtime.errors import BadInput, guarded

PATIENCE = 15.0  # house: seconds for a remote to respond; a login over ssh takes a few


def run() -> None:
    """Prints the state of each part: device, processor, disk, cache, remotes, copies, data and stages.

    Raises:
        BadInput: params.yaml is wrong, or some printed line is a Fault.
    """
    process.begin()
    params = parameters.load()
    check_all(params)  # the lines below take valid parameters for granted
    folder, links = dvc_private.cache()
    lock, record = Path("dvc.lock"), process.root() / "reports" / "cost.json"
    parts = {
        "device": devices(params.value("compute.device"), params.value("compute.threads")),
        "cpu": [*processor.half_precision(processor.CPUINFO), *processor.thread_lines(tasks.processors())],
        "disk": disks({"this repository": ".", "the cache": folder}),
        "cache": [cache(folder, links)],
        "remotes": remotes() or ["none: `dvc remote add -d store ssh://user@host/path` shares results"],
        "copies": list(not_copied()) or ["`dvc exp run --temp` and the queue can make theirs"],
        "data": data(params),
        "stages": stages(dvc_private.status(), outs(lock), costs(record)),
    }
    bad = []
    for title, lines in parts.items():
        for i, line in enumerate(lines):
            print(f"{'' if i else title:9}{line}")
            bad += [title] * isinstance(line, Fault)
    if bad:
        raise BadInput(
            f"{words.count(len(bad), 'line')} above, of {' and '.join(dict.fromkeys(bad))}, must be put right first."
        )


class Fault(str):
    """A line about something that has to be put right before anything can run."""


def devices(choice: str, threads: int) -> list[str]:
    """Returns a line for each GPU and for the CPU, and a Fault if the chosen device is not among them.

    Args:
        choice: the value of ``compute.device``.
        threads: the value of ``compute.threads``.
    """
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    lines = [f"cuda:{i} {gpu.name}, {words.size(gpu.total_memory)}" for i, gpu in enumerate(gpus)]
    if choice.startswith("cuda") and not gpus:
        lines.append(Fault(f"compute.device is {choice}, but torch {torch.__version__} sees no GPU here"))
    elif ":" in choice and int(choice.split(":")[1]) >= len(gpus):
        count = words.count(len(gpus), "GPU")
        lines.append(Fault(f"compute.device is {choice}, but torch {torch.__version__} sees {count} here"))
    lines.append(f"cpu, {words.count(threads, 'thread')} (compute.threads); compute.device is {choice}")
    return lines


def disks(folders: Mapping[str, str | Path]) -> list[str]:
    """Reports the free space of disks; little of it is no Fault, for nobody knows how much a run will take.

    Args:
        folders: what the line calls a folder, such as ``the cache``, to its path.

    Returns:
        A line for each folder that exists, in their order: ``12.3 GB free for the cache``.
    """
    return [
        f"{words.size(shutil.disk_usage(path).free)} free for {what}"
        for what, path in folders.items()
        if Path(path).exists()
    ]


def cache(folder: Path, links: Sequence[str]) -> str:
    """Returns a line about DVC's cache.

    Args:
        folder: its absolute path. Outside this clone, it is reported as shared.
        links: the ways in which DVC puts files of the cache into the workspace, such as ``reflink`` and ``copy``.
    """
    own = folder.is_relative_to(Path.cwd())
    return (
        f"{folder} by {' or '.join(links)}; {'of this clone alone' if own else 'shared with whoever uses this folder'}"
    )


def remotes() -> list[str]:
    """Contacts each remote; returns a line for each, a Fault if it does not respond within ``PATIENCE``."""
    return [_remote(name, url) for name, url in dvc_private.remotes().items()]


def _remote(name: str, url: str) -> str:
    try:
        has_content = _in_background(dvc_private.has_content, name).result(PATIENCE)
    except TooLong:
        return Fault(f"the remote {name} ({url}) does not answer within {PATIENCE:.0f} seconds")
    except Exception as error:  # whatever a client of ssh, s3 ... raises
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        return Fault(f"the remote {name} ({url}) refuses: {reason}")
    return f"{name} ({url}) answers" + ("" if has_content else "; nothing was pushed to it yet")


def _in_background(function: Callable[..., Any], *args: Any) -> Future:
    """Future of ``function(*args)``, run in a daemon thread, so that the process ends even if the call never returns."""
    future = Future()

    def answer() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=answer, daemon=True).start()
    return future


def data(params: parameters.Params) -> list[str]:
    """Returns a line for each dataset that params.yaml names: present, or to be downloaded.

    One whose files have to be put there by hand is a Fault.
    """
    maps = [
        (f"{group}.{name}", entry) for group in ("sources", "targets") for name, entry in params.value(group).items()
    ]
    return [_dataset(path, entry) for path, entry in [("dataset", params.value("dataset")), *maps]]


def _dataset(path: str, entry: Mapping[str, Any]) -> str:
    name = entry["name"]
    if name == "imagefolder":
        archive = entry["archive"]
        there = Path(archive).exists()
        return f"{path}: {archive}" if there else Fault(f"{path}.archive is {archive}, which is not there")
    folder = process.root() / "data" / "raw" / name
    missing = [file for file in CATALOGUE[name].files if not locate(file, folder)]
    if locked := [file for file in missing if not file.urls]:
        return Fault(f"{path} is {name}: {by_hand(locked[0], Path('data/raw') / name).rstrip('.')}")
    size = words.size(sum(file.bytes for file in missing))
    return f"{path}: {name}, " + (f"{size} will be downloaded" if missing else "there")


def stages(status: Mapping[str, list], hashes: Mapping[str, list[str]], records: Mapping[str, Any]) -> list[str]:
    """A line for each stage that DVC finds stale: the reason, and the cost of its out last time.

    Args:
        status: stage to its changes, as DVC lists them.
        hashes: stage to the hashes of its outs.
        records: hash of an out to its record in reports/cost.json, with ``seconds``.
    """
    if not status:
        return ["all up to date: `dvc repro` runs nothing"]
    lines, total = [], 0.0
    for stage, changes in status.items():
        seconds = [records[digest]["seconds"] for digest in hashes.get(stage, []) if digest in records]
        total += sum(seconds)
        lines.append(f"{stage}: {why(changes)}; {_seconds(sum(seconds)) if seconds else 'its cost is not known'}")
    return [*lines, f"stale, and what follows from them; {_seconds(total)} together, as far as it is known"]


def why(changes: Collection[Any]) -> str:
    """The changes of one stage in words, like ``method.alpha modified, data/real/dataset deleted``."""
    reasons = []
    for change in changes:
        if isinstance(change, str):
            reasons.append(change)
            continue
        for entries in change.values():
            for path, detail in entries.items():
                inner = detail.items() if isinstance(detail, dict) else [(path, detail)]
                reasons += [f"{key} {value}" for key, value in inner]
    return ", ".join(dict.fromkeys(reasons))


def outs(lock: Path) -> dict[str, list[str]]:
    """The hashes of the outs of every stage in a dvc.lock."""
    content: Any = parameters.parse(lock.read_text(encoding="utf-8")) if lock.is_file() else {}
    return {
        stage: [out["md5"] for out in entry.get("outs", []) if "md5" in out]
        for stage, entry in content.get("stages", {}).items()
    }


def costs(path: Path) -> dict[str, Any]:
    """The records in reports/cost.json by the hash of the out; empty, with a note, if the file is damaged."""
    try:
        return cost.read(path)
    except BadInput as error:
        print(f"note: {error}", file=sys.stderr)
        return {}


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s last time"
    return f"{seconds / 60:.0f} min last time" if seconds < 7200 else f"{seconds / 3600:.1f} h last time"


def main() -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    return guarded(run)
