"""Locks between processes, by ``flock``: they end with the process that holds them, however it ends."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

_POLL = 0.2  # seconds: nothing against the work that is waited for


@contextlib.contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Holds the lock file ``path`` while the block runs; prints ``waiting`` where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with first_free([path], waiting):
        yield


@contextlib.contextmanager
def first_free(paths: Sequence[Path], waiting: str = "") -> Iterator[int]:
    """Holds the first lock file of ``paths`` that nobody has and yields its index; waits while all are taken."""
    locks = [FileLock(path, mode=0o666) for path in paths]  # whoever made it, all users may lock it
    told = False
    while (taken := _take_one(locks)) is None:
        if waiting and not told:
            print(waiting, file=sys.stderr, flush=True)
            told = True
        time.sleep(_POLL)
    try:
        yield taken
    finally:
        locks[taken].release()


def _take_one(locks: Sequence[FileLock]) -> int | None:
    for index, lock in enumerate(locks):
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0)
            return index
    return None
