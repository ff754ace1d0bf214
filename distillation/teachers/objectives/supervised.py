"""The objective ``supervised``: a teacher trained on real images and their labels by cross-entropy."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from distillation.data.real import RealSet, Split, loaded
from distillation.runtime.errors import BadInput
from distillation.runtime.work import Task
from distillation.teachers.objective import Job, Objective, finish, run_of, split, together, training_of
from distillation.training.accuracy import accuracy
from distillation.training.settings import SupervisedSettings
from distillation.training.together import Run

if TYPE_CHECKING:
    from distillation.teachers.settings import PoolSettings
    from distillation.training.loop import Training


def make(job: Job, task: Task, device: str) -> None:
    """Trains the teacher of ``job``, resuming from the last checkpoint, and writes weights and record into the task.

    With ``best`` in ``pool.keep`` all of its checkpoints are trained without the images that are held out.
    """
    TOGETHER.work([job], [task], device)


def prepare(job: Job, task: Task, device: str) -> tuple[Run, Callable[[], None]]:
    """Returns the Run of a teacher at its start, and the function that writes its result."""
    data, settings = loaded(job.data, device), job.settings
    subset, validation = split(data) if "best" in settings.keep else (data.train, None)
    training = training_of(job, data, subset, device)
    run = run_of(job, task, training, {}, lambda kept: _keep(kept, training, settings, data, validation))
    return run, lambda: finish(job, task, data, training.network, run.beside["kept"], run.beside["curve"])


def _keep(
    kept: dict[str, dict[str, Any]],
    training: "Training",
    settings: "PoolSettings",
    data: RealSet,
    validation: Split | None,
) -> None:
    """Copies the weights of the finished epoch into ``kept``, under every entry of ``settings.keep`` that they meet.

    Of equal accuracies the earliest epoch stays. ``accuracy`` leaves the network in eval mode; the next epoch undoes
    that.
    """
    scored = {"best": validation, "best_test": data.test}
    for name in settings.keep:
        if name in scored:
            score = accuracy(training.network, data, scored[name], settings.precision)
            kept_now = str(name) not in kept or score > kept[name]["score"]
        else:
            # A number is met at the end of its epoch, ``last`` at the end of training.
            score, kept_now = None, name in ("last", training.epoch) and (name != "last" or training.done)
        if kept_now:
            weights = {key: value.detach().clone() for key, value in training.network.state_dict().items()}
            kept[str(name)] = {"weights": weights, "epoch": training.epoch, "score": score}


def _reached(pool: "PoolSettings", path: str) -> None:
    """Checks that training reaches every epoch to keep.

    Raises:
        BadInput: an epoch lies after the end of training.
    """
    epochs = cast("SupervisedSettings", pool.training).epochs
    late = [k for k in pool.keep if isinstance(k, int) and k > epochs]
    if late:
        raise BadInput(f"{path} keeps epoch {late[0]}, but training ends after {epochs}.")


TOGETHER = together(prepare)
OBJECTIVE = Objective(SupervisedSettings, make, check=_reached, together=TOGETHER)
