"""The loop of all long work: units of seconds, progress, checkpoints between units."""

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
    """Calls ``advance`` until ``at()`` is ``total``, from the last checkpoint of an interrupted run.

    Args:
        task: the task that holds the checkpoints.
        state: the return value of ``task.start()``.
        advance: does one unit of work, of seconds at most. Returns values to show (or an empty dict) if it increased
            ``at()`` by one, else None.
        state_dict: function that returns the content of a checkpoint.
        load_state_dict: function that restores it, to the same final bits.
        at: function that returns the number of completed steps of progress.
        total: number of all steps.
        unit: the word for one step.
        live: name of the CSV in the task's folder that records the values.
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
