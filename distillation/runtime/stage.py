"""The driver of every stage that computes: it finds or computes the results of all jobs, then writes the out.

A job is a dataclass with all that one piece of work reads. Its task is the folder where the work keeps checkpoints and
its result (``runtime.work``). A job whose task is finished, by whatever run, is not computed again.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from distillation.runtime import cost, device, tasks
from distillation.runtime.errors import Diverged
from distillation.runtime.files import atomic_output
from distillation.runtime.keys import inputs_of
from distillation.runtime.work import Task, locked_tasks

# A top-level function of a job, its task and a device such as "cuda:0"; it writes its result into the task.
Work = Callable[[Any, Task, str], None]


@dataclass(frozen=True)
class Together:
    """How several jobs of one kind of work are computed at once, with the results that each has for itself.

    Attributes:
        work: top-level function of lists of jobs and of their tasks, and a device; it writes the result of each. A
            Diverged that it raises names its task.
        alike: function of a job; jobs of equal values may be computed at once.
        place: function of a job; jobs of equal values may not.
    """

    work: Callable[[list, list[Task], str], None]
    alike: Callable[[Any], Hashable]
    place: Callable[[Any], int]


class Compute(Protocol):
    """The section ``compute`` of params.yaml; ``params.Compute`` describes its fields.

    A protocol, as this package imports none of the project but itself.
    """

    device: str
    locks: str
    workers: int | Literal["auto"]
    threads: int
    checkpoint: float


def tasks_of(work: Work, jobs: Mapping[str, object], compute: Compute, modules: tuple[str, ...] = ()) -> list[Task]:
    """Lists the Task of each job, in the order of ``jobs``; nothing is computed or locked.

    Args:
        work: top-level function of a job, its task and a device (like ``cuda:0``); it writes its result into the task.
        jobs: dataclasses by label, the name of the work in messages; a job holds all that ``work`` reads (see
            ``keys``).
        compute: the section ``compute``.
        modules: dotted names of the modules that ``work`` imports by name, such as ``distillation.methods.dm``.

    Raises:
        BadInput: this machine lacks the device, or a path that a job names does not exist.
    """
    environment = device.environment(compute.device, compute.threads)
    return [
        Task.of(label, inputs_of(work, job, environment, modules), compute.checkpoint) for label, job in jobs.items()
    ]


@contextlib.contextmanager
def finished(
    work: Work,
    jobs: Mapping[str, object],
    compute: Compute,
    modules: tuple[str, ...] = (),
    before: Callable[[list], contextlib.AbstractContextManager] | None = None,
    together: Together | None = None,
) -> Iterator[list[Task]]:
    """Computes the jobs that have no result yet; yields the finished Task of every job, in the order of ``jobs``.

    The tasks are locked while the block runs: nobody else computes or removes them.

    Args:
        work: as in ``tasks_of``.
        jobs: as in ``tasks_of``.
        compute: as in ``tasks_of``.
        modules: as in ``tasks_of``.
        before: function that takes the list of the jobs without a result and returns a context manager. The context is
            entered before these jobs are computed, and left afterwards. It is for results of other tasks that they
            need, such as pre-trained networks: none is computed if no job needs it. It is not called if all jobs have
            results.
        together: how jobs are computed at once, with the same results; None: one after the other.

    Raises:
        BadInput: as ``tasks_of``, or as ``work`` raises it; a worker was killed; or losses are not finite (Diverged).
    """
    tasks_in_order = tasks_of(work, jobs, compute, modules)
    with _finished(work, jobs, tasks_in_order, compute, before, together):
        yield tasks_in_order


@contextlib.contextmanager
def _finished(
    work: Work,
    jobs: Mapping[str, object],
    tasks_in_order: list[Task],
    compute: Compute,
    before: Callable[[list], contextlib.AbstractContextManager] | None,
    together: Together | None,
) -> Iterator[None]:
    """Holds the locks of the jobs' tasks and computes those without a result."""
    with locked_tasks(tasks_in_order) as missing:
        pairs = zip(jobs.values(), tasks_in_order, strict=True)
        # two jobs with one key, like a random set that is the k-means set, are one piece of work
        unfinished = list({task.folder: (job, task) for job, task in pairs if task in missing}.values())
        if unfinished:
            calls = calls_of(work, unfinished, together)
            with before([job for job, _ in unfinished]) if before else contextlib.nullcontext():
                _run(calls, compute)
        yield


def produce(
    stage: str,
    out: str | Path,
    write: Callable[[Path, list[Task]], None],
    work: Work,
    jobs: Mapping[str, object],
    compute: Compute,
    modules: tuple[str, ...] = (),
    before: Callable[[list], contextlib.AbstractContextManager] | None = None,
    together: Together | None = None,
) -> None:
    """Computes the results of all jobs, then writes the out of a stage: what most stage scripts consist of.

    The out is replaced as a whole once ``write`` has returned. Then its cost is added to ``reports/cost.json``.

    Args:
        stage: name of the stage, for the record of costs.
        out: folder of the out.
        write: function of an empty folder and the finished tasks, in the order of ``jobs``; it writes the out into the
            folder.
        work: as in ``tasks_of``.
        jobs: as in ``tasks_of``.
        compute: as in ``tasks_of``.
        modules: as in ``tasks_of``.
        before: as in ``finished``.
        together: as in ``finished``.

    Raises:
        BadInput: as ``finished``.
    """
    tasks_in_order = tasks_of(work, jobs, compute, modules)
    reused = [task for task in tasks_in_order if task.finished()]
    with _finished(work, jobs, tasks_in_order, compute, before, together):
        with atomic_output(out) as folder:
            write(folder, tasks_in_order)
        cost.record(stage, out, tasks_in_order, reused)


@dataclass(frozen=True)
class Call:
    """One job on its way to a worker process, or with ``Together.work`` lists of jobs and tasks."""

    work: Callable[[Any, Any, str], None]
    job: object
    task: Task | list[Task]
    device: str = ""

    def on(self, target: str) -> "Call":
        """The same call on the device ``target``."""
        return Call(self.work, self.job, self.task, target)


def calls_of(work: Work, pairs: Sequence[tuple[object, Task]], together: Together | None = None) -> list[Call]:
    """Returns the calls of jobs with their tasks.

    With ``together`` a call has all jobs that are computed at once: each goes into the first call of its kind in which
    its place is free.
    """
    if together is None:
        return [Call(work, job, task) for job, task in pairs]
    groups: list[tuple[Hashable, dict[int, tuple[object, Task]]]] = []
    for job, task in pairs:
        alike, place = together.alike(job), together.place(job)
        free = [members for key, members in groups if key == alike and place not in members]
        if not free:
            free = [{}]
            groups.append((alike, free[0]))
        free[0][place] = (job, task)
    return [
        Call(together.work, [job for job, _ in members.values()], [task for _, task in members.values()])
        for _, members in groups
    ]


def _run(calls: list[Call], compute: Compute) -> None:
    """Computes calls on one leased device, in worker processes if there are several of both."""
    with device.lease_device(compute.device, compute.locks) as target:
        workers = tasks.most(compute.workers, target.type, compute.threads)
        for _ in tasks.map_tasks(_compute, [call.on(str(target)) for call in calls], workers, compute.threads):
            pass


def _compute(call: Call) -> None:
    """Runs the work of a call; if it diverges, removes its checkpoint and raises Diverged with the task's label."""
    try:
        call.work(call.job, call.task, call.device)
    except Diverged as fault:
        task = fault.task or cast("Task", call.task)
        task.forget()  # a run that resumed from the checkpoint would diverge again
        raise Diverged(f"{task.label}: {fault}") from None
