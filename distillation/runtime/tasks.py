"""Independent tasks, here or in worker processes: the result is the same."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from distillation.runtime import device, process


def map_tasks(run: Callable, items: Sequence, workers: int, threads: int) -> Iterator:
    """Yields ``run(item)`` for each item, in order.

    ``run`` is a top-level function whose result depends on its item alone; items and results cross process
    boundaries. One worker runs in this process. Workers die with this process.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        device.prepare(threads)
        yield from map(run, items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks and a CUDA context
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(threads,)) as pool:
        yield from pool.map(run, items)


def _begin(threads: int) -> None:
    process.die_with_parent()
    device.prepare(threads)
