"""The running of trainings with their tasks: each alone, or several of small networks in a group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from distillation.console.live import Live
from distillation.console.progress import Progress
from distillation.runtime.errors import Diverged
from distillation.runtime.work import LIVE, Task
from distillation.training.group import Group
from distillation.training.loop import Training


@dataclass(kw_only=True)
class Run:
    """One training with its task.

    Attributes:
        task: holds its checkpoints.
        training: at step 0.
        after: function of the loss and accuracy (percent) of each epoch, called at its end. It returns the values to
            show and record by name, and raises Diverged if they are not finite.
        ended: function of the Diverged that ended the training early.
        beside: what ``after`` fills, such as curves and kept weights; a part of every checkpoint, restored in place.
        place: of the network in a group, from 0; it decides the last bits of the result.
    """

    task: Task
    training: Training
    after: Callable[[tuple[float, float]], dict[str, float]]
    ended: Callable[[Diverged], None]
    beside: dict[str, Any] = field(default_factory=dict)
    place: int = 0

    def state_dict(self, training: dict[str, Any]) -> dict[str, Any]:
        """Returns the content of a checkpoint, with the state of the training that is given."""
        return {"training": training, "beside": self.beside}


def run_all(runs: Sequence[Run], size: int) -> None:
    """Runs trainings to their ends, or until they diverge, resuming each from its last checkpoint.

    Args:
        runs: trainings of one network name, loss, settings and precision, on one device; those with the same number of
            images at the same step go together.
        size: the number of places in a group; 1: each training runs for itself.
    """
    for run in runs:
        if (state := run.task.start()) is not None:
            run.training.load_state_dict(state["training"])
            run.beside.update(state["beside"])
    waiting = [run for run in runs if not run.training.done]
    while waiting:
        members = _beside_first(waiting) if size > 1 else waiting[:1]
        others = [run for run in waiting if run not in members]
        # those that go on when one of them has diverged, first: they may meet others at their step
        waiting = [*_advance(members, size), *others]


def _beside_first(runs: Sequence[Run]) -> list[Run]:
    """Returns the first run and those that can go with it, each in a place of its own."""
    first, members = runs[0].training, {}
    for run in runs:
        if (run.training.step, run.training.count) == (first.step, first.count):
            members.setdefault(run.place, run)
    return list(members.values())


def _advance(runs: Sequence[Run], size: int) -> list[Run]:
    """Runs trainings together until they are done or one diverges; returns those that then have to go on."""
    going, first = list(runs), runs[0].training
    group = Group({run.place: run.training for run in runs}, size) if size > 1 else _Alone(first)
    lives = [Live(run.task.folder / LIVE) for run in runs]
    for run in runs:
        run.task.share(len(runs))
    with Progress(_label(runs), first.settings.epochs, start=first.epoch, unit="epoch") as bar:
        while not first.done and len(going) == len(runs):
            if finished := group.advance():
                for run, live, values in zip(runs, lives, finished, strict=True):
                    record = _after(run, values)
                    if record is None:
                        going.remove(run)
                    else:
                        live.add(first.epoch, **record)
                bar.advance(loss=sum(loss for loss, _ in finished) / len(runs))
            if len(going) == len(runs) and all(run.task.due() for run in runs):
                for run, state in zip(runs, group.state_dicts(), strict=True):
                    run.task.checkpoint(run.state_dict(state))
    group.part()
    return [] if first.done else going


def _after(run: Run, values: tuple[float, float]) -> dict[str, float] | None:
    """Calls ``after`` of a run at the end of an epoch; None if the run has diverged."""
    try:
        return run.after(values)
    except Diverged as fault:
        run.ended(fault)
        return None


def _label(runs: Sequence[Run]) -> str:
    label = runs[0].task.label
    return label if len(runs) == 1 else f"{label} and {len(runs) - 1} more"


class _Alone:
    """A Training with the interface of a Group of one."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def advance(self) -> list[tuple[float, float]] | None:
        finished = self.training.advance()
        return [(float(finished[0]), float(finished[1]))] if finished else None

    def state_dicts(self) -> list[dict]:
        return [self.training.state_dict()]

    def part(self) -> None:
        pass
