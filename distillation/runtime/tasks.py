"""Independent tasks, in this process or in worker processes, with the same results."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Literal

from distillation.runtime import device, parent
from distillation.runtime.errors import BadInput


def most(workers: int | Literal["auto"], kind: str, threads: int) -> int:
    """Returns how many processes may compute side by side.

    Args:
        workers: the setting ``compute.workers``. ``auto``: on the CPU as many as keep every processor of this process
            busy with ``threads`` each, and one on a GPU, as a stage leases one card.
        kind: of the device: ``cpu``, ``cuda``.
        threads: CPU threads of each process.
    """
    if workers != "auto":
        return workers
    return max(1, processors() // threads) if kind == "cpu" else 1


def processors() -> int:
    """Counts the processors that this process may run on, where the system tells, else all of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_tasks(run: Callable, items: Sequence, workers: int, threads: int) -> Iterator:
    """Yields ``run(item)`` for each item, in order, computed by up to ``workers`` processes.

    With one worker, or one item, this process itself computes. Workers are killed when this process ends, also if a
    signal ends it. An exception of ``run`` is raised here. Each computing process is configured by ``device.prepare``.

    Args:
        run: top-level function whose result depends on its item alone.
        items: picklable objects; results must be picklable, too, as both are sent between processes.
        workers: the most processes.
        threads: CPU threads of each process.

    Raises:
        BadInput: a worker was killed.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        device.prepare(threads)
        yield from map(run, items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks and a CUDA context
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(os.getpid(), threads)) as pool:
        try:
            with _without_interrupts():  # a terminal's Ctrl-C reaches all processes, and this one speaks for them
                results = pool.map(run, items)
            yield from results
        except BrokenProcessPool as error:
            raise BadInput(
                "a worker was killed, as the system does when memory runs out: lower compute.workers, or start the same "
                "command again, which goes on from what is finished."
            ) from error
        except (SystemExit, GeneratorExit):  # else the pool would wait for what its workers are at
            for worker in multiprocessing.active_children():
                worker.kill()
            raise


def _begin(stage: int, threads: int) -> None:
    """Prepares a new worker of the process ``stage`` (its PID)."""
    parent.tie(stage)
    device.prepare(threads)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks SIGINT in this thread; threads and processes that start meanwhile inherit that and never receive one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
