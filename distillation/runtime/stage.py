"""The driver of every stage that computes: it finds or computes the results of the jobs, then writes the out atomically."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from distillation.runtime import cost, device, tasks
from distillation.runtime.errors import Diverged
from distillation.runtime.files import atomic_output
from distillation.runtime.keys import inputs_of
from distillation.runtime.work import Task, locked_tasks

Work = Callable[[Any, Task, str], None]


class Compute(Protocol):
    """The section ``compute`` of params.yaml; ``params.Compute`` describes its fields."""

    device: str
    locks: str
    workers: int
    threads: int
    checkpoint: float


def tasks_of(work: Work, jobs: Mapping[str, object], compute: Compute, modules: tuple[str, ...] = ()) -> list[Task]:
    """Lists the Task of each job, in order.

    Args:
        work: top-level function of a job, its task and a device; it writes its result into the task.
        jobs: dataclasses by label; a job holds all that ``work`` reads (see ``keys``).
        compute: device, workers, threads and checkpoints.
        modules: dotted names of the variants that ``work`` loads by name.
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
) -> Iterator[list[Task]]:
    """Computes the jobs without a result; yields the finished Task of every job, locked, in order.

    Args:
        work: as in ``tasks_of``.
        jobs: as in ``tasks_of``.
        compute: as in ``tasks_of``.
        modules: as in ``tasks_of``.
        before: function of the jobs without a result; its context is entered before they are computed and provides the
            results of other tasks that they need.
    """
    tasks_in_order = tasks_of(work, jobs, compute, modules)
    with _finished(work, jobs, tasks_in_order, compute, before):
        yield tasks_in_order


@contextlib.contextmanager
def _finished(
    work: Work,
    jobs: Mapping[str, object],
    tasks_in_order: list[Task],
    compute: Compute,
    before: Callable[[list], contextlib.AbstractContextManager] | None,
) -> Iterator[None]:
    """Holds the locks of the jobs' tasks and computes those without a result."""
    with locked_tasks(tasks_in_order) as missing:
        pairs = zip(jobs.values(), tasks_in_order, strict=True)
        # two jobs with one key, like a random set that is the k-means set, are one piece of work
        calls = list({task.folder: _Call(work, job, task) for job, task in pairs if task in missing}.values())
        if calls:
            with before([call.job for call in calls]) if before else contextlib.nullcontext():
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
) -> None:
    """Computes the results of all jobs, then writes the out of a stage, and records its cost under its hash.

    Args:
        stage: name of the stage.
        out: folder of the out.
        write: function of an empty folder and the finished tasks; it writes the out into the folder.
        work: as in ``finished``.
        jobs: as in ``finished``.
        compute: as in ``finished``.
        modules: as in ``finished``.
        before: as in ``finished``.
    """
    tasks_in_order = tasks_of(work, jobs, compute, modules)
    reused = [task for task in tasks_in_order if task.finished()]
    with _finished(work, jobs, tasks_in_order, compute, before):
        with atomic_output(out) as folder:
            write(folder, tasks_in_order)
        cost.record(stage, out, tasks_in_order, reused)


@dataclass(frozen=True)
class _Call:
    """One job on its way to a worker process."""

    work: Work
    job: object
    task: Task
    device: str = ""

    def on(self, target: str) -> "_Call":
        """The same call on the device ``target``."""
        return _Call(self.work, self.job, self.task, target)


def _run(calls: list[_Call], compute: Compute) -> None:
    with device.lease_device(compute.device, compute.locks) as target:
        for _ in tasks.map_tasks(_compute, [call.on(str(target)) for call in calls], compute.workers, compute.threads):
            pass


def _compute(call: _Call) -> None:
    try:
        call.work(call.job, call.task, call.device)
    except Diverged as fault:
        call.task.forget()
        raise Diverged(f"{call.task.label}: {fault}") from None
