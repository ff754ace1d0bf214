"""Work that is killed in the middle, as by a signal."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from distillation.runtime.work import Task


@contextlib.contextmanager
def killed_at(reached: Callable[[dict], bool]) -> Iterator[None]:
    """The block is killed after the first checkpoint for whose state ``reached`` is true, and has to get there."""
    saved = Task.checkpoint

    def kill(task: Task, state: dict) -> None:
        saved(task, state)
        if reached(state):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Task, "checkpoint", kill)
        yield
