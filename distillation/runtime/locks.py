"""Locks between processes, by ``flock``: the kernel releases them when the process that holds them ends, also by a kill.

A lock file is opened by ``filelock``, which follows no link, waits for no reader of a FIFO and empties no file.
"""

import contextlib
import pwd
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from distillation.runtime.errors import BadInput

_POLL = 0.2  # house: seconds between two attempts, short against any work that is waited for


@contextlib.contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Holds the lock file ``path`` while the block runs, after waiting, without bound, for a process that holds it.

    Args:
        path: the lock file; it and its folder are created if needed, and it stays afterwards.
        waiting: a sentence for stderr if it has to wait; empty: none.

    Raises:
        BadInput: something else than a file lies in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with first_free([path], waiting):
        yield


@contextlib.contextmanager
def first_free(paths: Sequence[Path], waiting: str = "", cure: str = "remove it") -> Iterator[int]:
    """Holds the first free one of several lock files while the block runs, and yields its index in ``paths``.

    While other processes hold all of them, it waits without bound.

    Args:
        paths: the lock files, in the order in which they are tried; they are created if needed, for all users.
        waiting: a sentence for stderr if it has to wait; empty: none.
        cure: what to do about a path that is no lock file, for the message of BadInput.

    Raises:
        BadInput: something that cannot be locked is in the place of a lock file.
    """
    locks = [FileLock(path, mode=0o666) for path in paths]  # all users may lock it, whoever created it
    is_announced = False
    while (index := _take_one(locks, cure)) is None:
        if waiting and not is_announced:
            print(waiting, file=sys.stderr, flush=True)
            is_announced = True
        time.sleep(_POLL)
    try:
        yield index
    finally:
        locks[index].release()  # the file stays: if it were removed, two processes could lock two files of one name


@contextlib.contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Tries to hold the lock file ``path`` while the block runs, without waiting.

    The block runs in either case. ``clean`` uses it to leave the folders of running tasks alone.

    Yields:
        Whether it is held here: False if another process holds it.

    Raises:
        BadInput: as ``first_free``.
    """
    lock = FileLock(path, mode=0o666)
    is_held = _take_one([lock], "remove it") is not None
    try:
        yield is_held
    finally:
        lock.release()


def _take_one(locks: Sequence[FileLock], cure: str) -> int | None:
    """Locks the first free one and returns its index; None if all are held."""
    for index, lock in enumerate(locks):
        path = Path(lock.lock_file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        except OSError as error:
            raise BadInput(f"{path} cannot be locked, as {_obstacle(path, error)}: {cure}.") from error
        if not stat.S_ISREG(path.lstat().st_mode):  # a FIFO and some devices can be locked
            lock.release()
            raise BadInput(f"{path} cannot be locked, as it is no regular file: {cure}.")
        return index
    return None


def _obstacle(path: Path, error: OSError) -> str:
    """Why a lock file cannot be opened."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return "it is a link" if stat.S_ISLNK(status.st_mode) else "it is no regular file"
        if isinstance(error, PermissionError):
            return f"it belongs to {owner(status.st_uid)}, who has not let others write it"
    return f"the system says: {error.strerror}"


def owner(uid: int) -> str:
    """The name of the user with a number, or ``user N`` for one without a name on this machine."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
