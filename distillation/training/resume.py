"""The one loop of all work that takes long: units of seconds, progress, checkpoints between units."""

from collections.abc import Callable

from distillation.console.progress import Progress
from distillation.runtime.work import LIVE, Task


def complete(
    task: Task,
    state: dict | None,
    *,
    advance: Callable[[], dict | None],
    state_dict: Callable[[], dict],
    load_state_dict: Callable[[dict], None],
    at: Callable[[], int],
    total: int,
    unit: str,
    live: str = LIVE,
) -> None:
    """Calls ``advance`` until ``at()`` is ``total``, going on where an earlier run stopped.

    Args:
        task: whose checkpoints these are.
        state: what ``task.start()`` gave.
        advance: one unit of work, of seconds at most; gives values to show (empty: none) where it brought ``at`` on by
            one, else None.
        state_dict, load_state_dict: what a checkpoint holds, and back; the same final bits come of it.
        at, total: how many steps of progress are done, and of how many.
        unit: the word for one step.
        live: name of the CSV in the task's folder that follows the values.
    """
    if state is not None:
        load_state_dict(state)
    with Progress(task.label, total, start=at(), unit=unit, live=task.folder / live) as bar:
        while at() < total:
            values = advance()
            if values is not None:
                bar.advance(**values)
            if task.due():
                task.checkpoint(state_dict())
