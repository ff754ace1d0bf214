"""Locks between processes, by ``flock``: they end with the process that holds them, however it ends."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Holds the lock file ``path`` while the block runs; prints ``waiting`` where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with first_free([path], waiting):
        yield


@contextlib.contextmanager
def first_free(paths: Sequence[Path], waiting: str = "") -> Iterator[int]:
    """Holds the first lock file of ``paths`` that nobody has and yields its index; waits while all are taken."""
    locks = [FileLock(path, mode=0o666) for path in paths]
    told = False
    while True:
        for index, lock in enumerate(locks):
            try:
                # One path is waited for in the kernel's order of turns; of several, none may be waited for alone.
                lock.acquire(timeout=-1 if told and len(locks) == 1 else 0)
            except Timeout:
                continue
            try:
                yield index
            finally:
                lock.release()
            return
        if not told and waiting:
            print(waiting, file=sys.stderr, flush=True)
        if told:
            time.sleep(1)
        told = True
