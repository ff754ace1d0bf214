"""What every stage that computes does: find or make the results of its jobs, then write its out whole."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distillation.runtime import cost, device, tasks
from distillation.runtime.files import atomic_output
from distillation.runtime.keys import inputs_of
from distillation.runtime.work import Task, locked_tasks

Work = Callable[[object, Task, str], None]


class Compute(Protocol):
    """The section ``compute`` of params.yaml."""

    device: str
    workers: int
    threads: int
    checkpoint: float


def tasks_of(work: Work, jobs: Mapping[str, object], compute: Compute, modules: tuple[str, ...] = ()) -> list[Task]:
    """The Task of each job, by its label, in order.

    Args:
        work: top-level function of a job, its task and a device, that leaves its result in the task.
        jobs: label to dataclass; all that ``work`` reads is in the latter (see ``keys``).
        compute: where and how.
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
    """Makes what is not finished yet; yields the finished Task of each job, locked, in order.

    ``before`` is a function of the jobs that are missing; its context is entered before they are computed, and makes
    what they need of other tasks. The other arguments are those of ``tasks_of``.
    """
    wanted = tasks_of(work, jobs, compute, modules)
    with locked_tasks(wanted) as missing:
        calls = [_Call(work, job, task) for job, task in zip(jobs.values(), wanted, strict=True) if task in missing]
        if calls:
            with before([call.job for call in calls]) if before else contextlib.nullcontext():
                _run(calls, compute)
        yield wanted


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
    """Makes the out of a stage: the results of all jobs, then what ``write(folder, tasks)`` makes of them.

    The cost of the out is recorded under its hash. The other arguments are those of ``finished``.
    """
    reused = [task for task in tasks_of(work, jobs, compute, modules) if task.finished()]
    with finished(work, jobs, compute, modules, before) as results:
        with atomic_output(out) as folder:
            write(folder, results)
        cost.record(stage, out, results, reused)


@dataclass(frozen=True)
class _Call:
    """One job on its way to a worker process."""

    work: Work
    job: object
    task: Task
    device: str = ""

    def on(self, where: str) -> "_Call":
        return _Call(self.work, self.job, self.task, where)


def _run(calls: list[_Call], compute: Compute) -> None:
    with device.lease_device(compute.device) as where:
        for _ in tasks.map_tasks(_compute, [call.on(str(where)) for call in calls], compute.workers, compute.threads):
            pass


def _compute(call: _Call) -> None:
    call.work(call.job, call.task, call.device)
