"""Everything that uses DVC's private API; DVC promises no more than ``dvc.api`` and its commands.

A release of DVC may change any of it: tried with DVC 3.67.1. Each function opens the repository of the current folder
anew (10 ms) and returns plain values, so that no object of DVC's leaves this file.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distillation.runtime.dvc_hash import dvc_hash
from distillation.runtime.errors import BadInput
from distillation.runtime.files import load_json

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.repo.experiments.queue.celery import LocalCeleryQueue
    from dvc_task.proc.manager import ProcessManager

TRIED = "3.67.1"


def cached(md5: str) -> bool:
    """Whether DVC's cache holds a content, complete and undamaged: for a folder, its listing and every file in it.

    Each is read and its md5 compared: DVC itself trusts files that it once wrote. The caller may remove the last other
    copy.

    Args:
        md5: the name of the content, as ``dvc_hash`` returns it.
    """
    with _repository() as repo:

        def holds(name: str) -> bool:
            place = Path(repo.cache.local.oid_to_path(name))
            return place.is_file() and dvc_hash(place) == name.removesuffix(".dir")

        if not holds(md5):
            return False
        listing = load_json(repo.cache.local.oid_to_path(md5)) if md5.endswith(".dir") else []
        return all(holds(entry["md5"]) for entry in listing)


def cache() -> tuple[Path, list[str]]:
    """The folder of DVC's cache, and the kinds of links (``reflink``, ``copy``) between it and the workspace."""
    with _repository() as repo:
        return Path(repo.cache.local.path), repo.cache.local.cache_types


CACHE = "the path of DVC's cache"


def copied_texts() -> dict[str, str]:
    """The texts that DVC copies into the configuration of the folder in which it runs an experiment.

    ``checks.workspace`` checks them: DVC writes them as ASCII, and could not write any other character.

    Returns:
        The texts by what they are, for a message: the path of the cache, and the contents of two configuration files.
    """
    with _repository() as repo:
        git = Path(".git", "config")
        return {
            CACHE: repo.cache.local_cache_dir,
            "the content of .dvc/config.local": str(repo.config.read("local")),
            "the content of .git/config": git.read_text(errors="replace") if git.is_file() else "",
        }


def remotes() -> dict[str, str]:
    """The URL of each remote by its name."""
    with _repository() as repo:
        return {name: settings["url"] for name, settings in repo.config["remote"].items() if "url" in settings}


def has_content(remote: str) -> bool:
    """Whether anything was pushed to a remote yet.

    Args:
        remote: its name.

    Raises:
        BadInput: it is a folder of this machine, and the folder that it should lie in does not exist.
        Exception: any error of the remote's client, if the remote cannot be reached.
    """
    with _repository(refusal="") as repo:
        store = repo.cloud.get_remote_odb(remote)
        if store.fs.protocol == "local" and not (above := Path(store.path).parents[2]).is_dir():  # of URL/files/md5
            raise BadInput(f"there is no folder {above}")
        return store.fs.exists(store.path)


def status() -> dict[str, list]:
    """The changes of each stage by its name, as ``dvc status --json`` prints them."""
    with _repository() as repo:
        return repo.status()


def experiments(all_commits: bool = False) -> dict[str, str]:
    """The Git revision of each finished experiment by its name.

    Args:
        all_commits: whether those of all commits are listed, after those of HEAD; of two with one name the first
            counts.
    """
    with _repository() as repo:
        listings = [repo.experiments.ls(), repo.experiments.ls(all_commits=True) if all_commits else {}]
    revisions = {}
    for name, revision in (pair for baselines in listings for pairs in baselines.values() for pair in pairs):
        revisions.setdefault(name, revision)
    return revisions


def waiting() -> set[str]:
    """The names of the experiments that are queued or running."""
    with _repository() as repo:
        queue = repo.experiments.celery_queue
        return {entry.name for entry in [*queue.iter_queued(), *queue.iter_active()] if entry.name}


def abandoned() -> dict[str, str]:
    """Marks experiments as failed that DVC still lists as running although their process has died, for ``requeue``.

    Unmarked, `dvc queue kill` would interrupt whichever process has the dead one's number (PID) now.

    Returns:
        The stash revision of each of them, by its name or, without one, the revision's first seven digits.
    """
    with _repository() as repo:
        queue = repo.experiments.celery_queue
        entries = list(queue.iter_active())
        held = _of_workers(queue) if entries else set()  # slow: workers are called over DVC's message queue
        active = {entry.stash_rev for entry in queue.iter_active()} - held  # some ended meanwhile
        dead = [entry for entry in entries if entry.stash_rev in active and not _alive(queue.proc, entry.stash_rev)]
        for entry in dead:
            info = queue.proc.get(entry.stash_rev)
            if info and info.returncode is None:
                queue.proc[entry.stash_rev] = dataclasses.replace(info, returncode=-1)
        return {entry.name or entry.stash_rev[:7]: entry.stash_rev for entry in dead}


def _of_workers(queue: "LocalCeleryQueue") -> set[str]:
    """The stash revisions that living queue workers hold, also before a process starts and after it has ended."""
    return {task["args"][0]["stash_rev"] for tasks in queue.worker_status().values() for task in tasks}


def _alive(processes: "ProcessManager", revision: str) -> bool:
    """Whether the process in which DVC runs the experiment of a stash revision is alive."""
    import psutil

    info = processes.get(revision)
    if info is None or info.returncode is not None:
        return False
    try:
        command = psutil.Process(info.pid).cmdline()
    except psutil.Error:  # no such process, or another user's
        return False
    # after a reboot another process may have its number: the command line tells them apart
    return "exec-run" in command and any(revision in part for part in command)


@contextlib.contextmanager
def _repository(refusal: str = "DVC does not read this repository: ") -> Iterator["Repo"]:
    """Opens the repository of the current folder.

    Args:
        refusal: prefix of DVC's own message if DVC raises.

    Raises:
        BadInput: DVC raises, or lacks an attribute that the block uses.
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
    except DvcException as error:  # pyright: ignore[reportPossiblyUnboundVariable]  # a failed import ends in the clause above
        raise BadInput(f"{refusal}{str(error).rstrip('.')}.") from error
