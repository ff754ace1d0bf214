"""Everything taken from the inside of DVC, which promises no more than ``dvc.api`` and its commands.

A release of DVC may change any of it: tried with DVC 3.67.1. Each function opens the repository of the current folder
anew (10 ms) and returns plain values, so that no object of DVC's goes further than this file.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from dvc.repo import Repo

TRIED = "3.67.1"


def cached(md5: str) -> bool:
    """Whether DVC's cache holds the content that ``dvc_hash`` names; of a folder the listing and every file in it."""
    with _repository() as repo:
        place = repo.cache.local.oid_to_path
        if not Path(place(md5)).is_file():
            return False
        listing = json.loads(Path(place(md5)).read_bytes()) if md5.endswith(".dir") else []
        return all(Path(place(entry["md5"])).is_file() for entry in listing)


def cache() -> tuple[Path, list[str]]:
    """The folder of DVC's cache, and the kinds of links (``reflink``, ``copy``) by which the workspace gets at it."""
    with _repository() as repo:
        return Path(repo.cache.local.path), repo.cache.local.cache_types


def remotes() -> dict[str, str]:
    """Remote to its URL."""
    with _repository() as repo:
        return {name: settings["url"] for name, settings in repo.config["remote"].items() if "url" in settings}


def answers(remote: str) -> bool:
    """Whether anything was pushed to a remote yet.

    Raises:
        Exception: whatever the remote's client raises where it cannot be reached.
    """
    with _repository(refusal="") as repo:
        store = repo.cloud.get_remote_odb(remote)
        if store.fs.protocol == "local" and not (above := Path(store.path).parents[2]).is_dir():  # of URL/files/md5
            raise BadInput(f"there is no folder {above}")
        return store.fs.exists(store.path)


def status() -> dict[str, list]:
    """Stage to what DVC finds changed, as ``dvc status --json`` prints it."""
    with _repository() as repo:
        return repo.status()


def experiments(all_commits: bool = False) -> dict[str, str]:
    """Finished experiment to its revision: those of HEAD, with ``all_commits`` followed by all others."""
    with _repository() as repo:
        listed = [repo.experiments.ls(), repo.experiments.ls(all_commits=True) if all_commits else {}]
    found = {}
    for name, revision in (pair for baselines in listed for pairs in baselines.values() for pair in pairs):
        found.setdefault(name, revision)
    return found


def waiting() -> set[str]:
    """Names of the experiments that are queued or running."""
    with _repository() as repo:
        queue = repo.experiments.celery_queue
        return {entry.name for entry in [*queue.iter_queued(), *queue.iter_active()]}


def abandoned() -> dict[str, str]:
    """Name to revision of the experiments that DVC shows as running while their process is gone.

    DVC is told that they ended: else `dvc queue kill` would interrupt whatever process has their number now.
    """
    with _repository() as repo:
        queue = repo.experiments.celery_queue
        shown = list(queue.iter_active())
        in_hand = _of_workers(queue) if shown else set()
        active = {entry.stash_rev for entry in queue.iter_active()} - in_hand  # some ended meanwhile
        lost = [entry for entry in shown if entry.stash_rev in active and not _alive(queue.proc, entry.stash_rev)]
        for entry in lost:
            info = queue.proc.get(entry.stash_rev)
            if info and info.returncode is None:
                queue.proc[entry.stash_rev] = dataclasses.replace(info, returncode=-1)
        return {entry.name or entry.stash_rev[:7]: entry.stash_rev for entry in lost}


def _of_workers(queue) -> set[str]:
    """Revisions that living workers have in hand: before their process starts, and while its results are collected."""
    return {task["args"][0]["stash_rev"] for tasks in queue.worker_status().values() for task in tasks}


def _alive(processes, revision: str) -> bool:
    """Whether DVC's process runs; after a restart of the machine its number may be that of any other process."""
    import psutil

    info = processes.get(revision)
    if info is None or info.returncode is not None:
        return False
    try:
        command = psutil.Process(info.pid).cmdline()
    except psutil.Error:  # there is none, or it is somebody else's
        return False
    return "exec-run" in command and any(revision in part for part in command)


@contextlib.contextmanager
def _repository(refusal: str = "DVC does not read this repository: ") -> Iterator["Repo"]:
    """The repository of the current folder.

    Raises:
        BadInput: DVC refuses (``refusal`` comes before its words), or lacks what the block takes from it.
    """
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        with Repo() as repo:
            yield repo
    except (ImportError, AttributeError, TypeError) as error:
        raise BadInput(
            f"this needs the inside of DVC {TRIED}, and the DVC here differs ({error}): install dvc=={TRIED}."
        ) from error
    except DvcException as error:
        raise BadInput(f"{refusal}{str(error).rstrip('.')}.") from error
