"""A teacher trained on real images and their labels."""

from distillation.data.real import loaded
from distillation.runtime.errors import BadInput
from distillation.runtime.work import Task
from distillation.teachers.objective import Job, Objective, finish, split, train, training_of
from distillation.training.accuracy import accuracy
from distillation.training.settings import TrainSettings


def make(job: Job, task: Task, device: str) -> None:
    """Trains the teacher of ``job``, resuming where an earlier run stopped; its weights and record go into the task."""
    data, settings = loaded(job.data, device), job.settings
    shown, validation = split(data) if "best" in settings.keep else (data.train, None)
    training, kept = training_of(job, data, shown, device), {}
    curve = train(task, training, kept, lambda: _keep(kept, training, settings, data, validation))
    finish(job, task, data, training.network, kept, curve)


def _keep(kept, training, settings, data, validation):
    """Put the weights of the epoch just finished under every name of ``settings.keep`` that wants them."""
    scored = {"best": validation, "best_test": data.test}
    for name in settings.keep:
        if name in scored:
            score = accuracy(training.network, data, scored[name], settings.precision)
            wanted = str(name) not in kept or score > kept[name]["score"]
        else:
            score, wanted = None, name in ("last", training.epoch) and (name != "last" or training.done)
        if wanted:
            weights = {key: value.detach().clone() for key, value in training.network.state_dict().items()}
            kept[str(name)] = {"weights": weights, "epoch": training.epoch, "score": score}


def _reached(pool, path):
    late = [k for k in pool.keep if isinstance(k, int) and k > pool.training.epochs]
    if late:
        raise BadInput(f"{path} keeps epoch {late[0]}, but training ends after {pool.training.epochs}.")


OBJECTIVE = Objective(TrainSettings, make, check=_reached)
