"""A teacher trained without labels; then, unless its section has no probe, a linear classifier on its frozen features."""

from functools import partial

import torch

from distillation.console.progress import Progress
from distillation.networks.build import build
from distillation.networks.names import any_size, embeds
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator, seeded
from distillation.teachers.objective import Objective, dataset, finish
from distillation.teachers.selfsupervised.loop import Loop
from distillation.teachers.selfsupervised.probe import Probe, features, neighbours


def objective(settings, model, check=lambda pool, path: None):
    """The Objective that trains a Model by the settings of its section."""

    def sound(pool, path):
        _check(pool, path)
        check(pool, path)

    return Objective(
        settings, partial(train, model=model), check=sound, classifies=lambda pool: pool.training.probe is not None
    )


def train(job, model):
    """Train the teacher of ``job`` and measure it, resuming where an earlier run stopped."""
    data, state = dataset(job.data, job.device), job.task.start()
    _fits(job, data)
    loop, curve, probe = _loop(job, data, model), [], None
    if state:
        loop.load_state_dict(state["loop"])
        curve = state["curve"]

    def checkpoint():
        if job.task.due():
            probed = probe.state_dict() if probe else None
            job.task.checkpoint({"loop": loop.state_dict(), "curve": curve, "probe": probed})

    _advance(job, loop, "live", checkpoint, lambda loss: curve.append([loop.epoch, loss, None]))
    network = loop.model.learnt.eval()
    known, asked = (features(network, data, split, job.settings.precision) for split in (data.train, data.test))
    near = neighbours(known, data.train.labels, asked, data.test.labels, len(data.classes), job.settings.training.knn)
    if settings := job.settings.training.probe:
        probe = Probe(known, data.train.labels, len(data.classes), settings, job.settings.seed, _name(job))
        if state and state["probe"]:
            probe.load_state_dict(state["probe"])
        _advance(job, probe, "probe", checkpoint)
        network.classifier.load_state_dict(probe.classifier.state_dict())
    kept = {"last": {"weights": network.state_dict(), "epoch": loop.epoch}}
    finish(job, data, network, kept, curve, classifies=probe is not None, knn=near)


def _loop(job, data, model):
    settings, training = job.settings, job.settings.training
    channels, size, classes = data.shape
    draws = generator(settings.seed, _name(job))
    network = build(job.word, channels, size, classes, draws)
    with seeded(draws), torch.no_grad():  # no graph behind a head's normalised weights, so that it can be copied
        made = model(network, training, settings.precision).to(job.device)
    views = model.views(training, size)
    return Loop(
        made, views, data.train.images, data.space.encode, training, settings.seed, _name(job), data.info["flip"],
        settings.compile,
    )  # fmt: skip


def _advance(job, work, live, checkpoint, note=lambda loss: None):
    """Bring a Loop or a Probe to its end; ``note`` is told the loss of each epoch."""
    label, epochs, live = job.task.label, work.settings.epochs, job.task.folder / f"{live}.csv"
    with Progress(label, epochs, start=work.epoch, unit="epoch", live=live) as bar:
        while not work.done:
            loss = work.advance()
            if loss is not None:
                note(loss)
                bar.advance(loss=loss)
            checkpoint()


def _name(job):
    return f"teacher/{job.word}/{job.index}"


def _check(pool, path):
    if pool.keep != ["last"]:
        raise BadInput(f"{path}.keep is {', '.join(map(str, pool.keep))}, but {pool.objective} keeps last alone.")
    if bare := [word for word in pool.networks if not embeds(word)]:
        raise BadInput(f"{path}.networks has {bare[0]}, which has no features that {pool.objective} could teach.")
    if _locals(pool) and (rigid := [word for word in pool.networks if not any_size(word)]):
        raise BadInput(
            f"{path}.networks has {rigid[0]}, which takes images of one size only: choose a ResNet, or set "
            f"{pool.objective}.locals to 0."
        )


def _fits(job, data):
    """What only the data can tell. Raises BadInput."""
    training, count = job.settings.training, len(data.train)
    section = f"teacher's {job.settings.objective}"
    if training.batch > count:
        raise BadInput(f"the {section}.batch is {training.batch}, but there are {count} training images.")
    if training.knn.k > count:
        raise BadInput(f"the {section}.knn.k is {training.knn.k}, but there are {count} training images.")
    if data.space.kind == "whitened" and _locals(job.settings):
        raise BadInput(f"the {section}.locals is {training.locals}, but whitening takes whole images: set it to 0.")


def _locals(pool):
    """How many smaller views of each image the pool's objective looks at."""
    return getattr(pool.training, "locals", 0)
