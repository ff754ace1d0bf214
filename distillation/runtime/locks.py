"""Locks between processes, by ``flock``: the kernel releases them when the process that holds them ends, also by a kill."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from distillation.runtime.files import regular

_POLL = 0.2  # house: seconds, short against any work that is waited for


@contextlib.contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Holds the lock file ``path`` while the block runs; prints ``waiting`` if another process holds it.

    Raises:
        BadInput: something else than a file lies in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        regular(path)
    with first_free([path], waiting):
        yield


@contextlib.contextmanager
def first_free(paths: Sequence[Path], waiting: str = "") -> Iterator[int]:
    """Holds the first free lock file of ``paths`` and yields its index; waits while all are held, after ``waiting``."""
    locks = [FileLock(path, mode=0o666) for path in paths]  # all users may lock it, whoever created it
    is_announced = False
    while (index := _take_one(locks)) is None:
        if waiting and not is_announced:
            print(waiting, file=sys.stderr, flush=True)
            is_announced = True
        time.sleep(_POLL)
    try:
        yield index
    finally:
        locks[index].release()


def _take_one(locks: Sequence[FileLock]) -> int | None:
    """Locks the first free one and returns its index; None if all are held."""
    for index, lock in enumerate(locks):
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0)
            return index
    return None
