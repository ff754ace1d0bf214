"""Independent tasks, in this process or in worker processes, with the same results."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from distillation.runtime import device, process


def map_tasks(run: Callable, items: Sequence, workers: int, threads: int) -> Iterator:
    """Yields ``run(item)`` for each item, in order.

    Workers die with this process; a single worker is this process itself.

    Args:
        run: top-level function whose result depends on its item alone.
        items: picklable, as results must be: both cross process boundaries.
        workers: maximum number of processes.
        threads: CPU threads of each process.
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
