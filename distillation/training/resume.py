"""The loop that runs all long work in short units: it shows progress and writes checkpoints between two units."""

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
    """Calls ``advance`` until ``at()`` is ``total``, beginning at the last checkpoint if a run was interrupted.

    Progress is counted in steps that users understand, such as epochs. A unit of work may be much less, such as one
    update of the weights, so that a checkpoint never waits for long.

    Args:
        task: the started Task, in whose folder checkpoints and live values are written. It decides when one is due.
        state: the return value of ``task.start()``: the content of the last checkpoint, or None for a fresh start.
        advance: function that does one unit of work, of seconds at most. It returns the values to show and record by
            name (or an empty dict) if the unit completed a step of progress, else None.
        state_dict: function that returns the content of a checkpoint: nested dicts and lists of tensors and JSON
            values.
        load_state_dict: function of that content; the work that follows must give the same bits as without an
            interruption. A tuple comes back as a list.
        at: function that returns the number of completed steps of progress.
        total: number of all steps.
        unit: the word for one step, such as ``epoch``.
        live: name of the CSV file in the task's folder that records the values of each step.
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
