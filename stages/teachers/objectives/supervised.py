"""A teacher trained on real images and their labels."""

from stages.console.progress import Progress
from stages.containers.indexed import indices_on
from stages.networks.build import build
from stages.runtime.errors import BadInput
from stages.runtime.generators import generator
from stages.teachers.job import Objective, dataset, finish, split
from stages.training.accuracy import accuracy
from stages.training.loop import Training
from stages.training.losses import loss_of
from stages.training.settings import TrainSettings


def train(job):
    """Train the teacher of ``job``, resuming where an earlier run stopped; its weights and record go into the task."""
    data = dataset(job.data, job.device)
    settings, state = job.settings, job.task.start()
    shown, validation = split(data) if "best" in settings.keep else (data.train, None)
    network = build(job.word, *data.shape, generator(settings.seed, "teacher", job.word, job.index)).to(job.device)
    training = Training(
        network,
        lambda index: (data.encode(shown.images[index]), shown.labels[index]),
        len(shown),
        loss_of("ce"),
        settings.training,
        settings.seed,
        f"teacher/{job.word}/{job.index}",
        data.info["flip"],
        settings.precision,
        settings.compile,
        order_on=indices_on(shown.images),
    )
    kept, curve = {}, []
    if state:
        training.load_state_dict(state["training"])
        kept, curve = state["kept"], state["curve"]

    with Progress(
        job.task.label, settings.training.epochs, start=training.epoch, unit="epoch", live=job.task.folder / "live.csv"
    ) as bar:
        while not training.done:
            if finished := training.advance():
                curve.append([training.epoch, *finished])
                _keep(kept, training, settings, data, validation)
                bar.advance(loss=finished[0], accuracy=finished[1])
            if job.task.due():
                job.task.checkpoint({"training": training.state_dict(), "kept": kept, "curve": curve})
    finish(job, data, network, kept, curve)


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


OBJECTIVE = Objective(TrainSettings, train, check=_reached)
