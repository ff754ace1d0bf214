"""One student in the foreground: for debuggers, and to check that a row is reproduced."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from distillation.evaluation import classify
from distillation.params import Compute
from distillation.runtime import device, files, stage
from distillation.runtime.errors import BadInput
from distillation.runtime.work import Task


def train(which: str, jobs: Mapping[str, classify.Job], compute: Compute) -> None:
    """Trains the students of one network and seed anew, one on each set, in this process: ``stages.evaluate --only``.

    The work happens in a temporary folder, so no finished work is replaced. Prints each student's record and, if its
    row is finished, whether both records are equal.

    Args:
        which: NETWORK/SEED, as in ``ConvNet/0``.
        jobs: all jobs of the stage, by label.
        compute: device, threads and checkpoints; ``workers`` is not used.

    Raises:
        BadInput: ``which`` names none of the jobs.
    """
    network, _, seed = which.rpartition("/")
    chosen = {label: job for label, job in jobs.items() if (job.network, str(job.seed)) == (network, seed)}
    if not chosen:
        students = ", ".join(dict.fromkeys(f"{job.network}/{job.seed}" for job in jobs.values()))
        raise BadInput(f"--only is {which!r}, but the students are {students}.")
    device.prepare(compute.threads)
    with device.lease_device(compute.device, compute.locks) as target:
        for (label, job), task in zip(
            chosen.items(), stage.tasks_of(cast("stage.Work", classify.train), chosen, compute), strict=True
        ):
            _compare(label, _afresh(label, job, task, str(target)), task)


def _afresh(label: str, job: classify.Job, row: Task, target: str) -> dict:
    """Trains the student of a job, whose task is ``row``, in a folder that is then removed; returns its record."""
    folder = Path(tempfile.mkdtemp(prefix="only-"))
    try:
        task = Task(label, folder / "task", row.inputs, row.every)
        classify.train(job, task, target)
        return files.load_json(task.done / classify.RECORD)
    finally:
        shutil.rmtree(folder)


def _compare(label: str, record: dict, row: Task) -> None:
    """Prints a new record, and whether it equals that of the finished task ``row``."""
    printed = {name: value for name, value in record.items() if name != "curve"}
    print(f"{label}: {printed}")
    if (done := row.finished()) is None:
        print(f"Its row is not finished; its work would be in {row.folder}.")
    else:
        finished = files.load_json(done / classify.RECORD)
        same = repr(finished) == repr(record)  # the loss of a student that diverged equals nothing, not itself
        print(f"{'The same' if same else 'NOT the same'} as its row, whose work is in {row.folder}.")
