"""The making of a self-supervised teacher: training without labels, k-NN accuracy and, if set, the probe."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from distillation.data.real import RealSet, loaded
from distillation.networks.build import build
from distillation.networks.names import any_size, embeds
from distillation.runtime.errors import BadInput, require_finite
from distillation.runtime.random import generator, seeded
from distillation.runtime.work import LIVE, Task
from distillation.teachers.objective import Job, Objective, finish
from distillation.teachers.selfsupervised.loop import Loop
from distillation.teachers.selfsupervised.model import Model
from distillation.teachers.selfsupervised.probe import Probe, features, neighbours, of_bank, of_crops
from distillation.training.resume import complete

if TYPE_CHECKING:
    from distillation.teachers.selfsupervised.settings import MeasuredPretraining, Pretraining
    from distillation.teachers.settings import PoolSettings


def objective(
    settings: "type[Pretraining]",
    model: type[Model],
    check: "Callable[[PoolSettings, str], None]" = lambda pool, path: None,
) -> Objective:
    """Creates the Objective that trains a Model; each self-supervised module calls it once.

    Args:
        settings: schema of the objective's section: a Pretraining with ``probe`` and ``knn``.
        model: the class of the Model.
        check: further checks of the objective, see ``Objective.check``; they follow those that all share.
    """

    def sound(pool: "PoolSettings", path: str) -> None:
        _check(pool, path)
        check(pool, path)

    return Objective(
        settings,
        partial(make, model=model),
        check=sound,
        classifies=lambda pool: section_of(pool).probe is not None,
    )


def section_of(pool: "PoolSettings") -> "MeasuredPretraining":
    """Returns the section of a self-supervised objective in the settings of a pool."""
    return cast("MeasuredPretraining", pool.training)


def make(job: Job, task: Task, device: str, model: type[Model]) -> None:
    """Trains the teacher of ``job`` without labels, measures its features, and writes it as the result of its task.

    The k-NN accuracy of its features on the test images is recorded as ``knn``. With a probe, a linear classifier is
    trained on the frozen features and becomes the network's classifier. Both trainings resume from the last checkpoint.

    Args:
        job: the job.
        task: its Task.
        device: name of the device.
        model: the class of the Model.

    Raises:
        BadInput: the settings do not suit the data.
        Diverged: a loss is not finite.
    """
    data, state = loaded(job.data, device), task.start()
    _fits(job, data)
    loop, curve, probe = _loop(job, data, model, device), [], None

    def state_dict() -> dict[str, Any]:
        return {"loop": loop.state_dict(), "curve": curve, "probe": probe.state_dict() if probe else None}

    def load_state_dict(state: dict[str, Any]) -> None:
        loop.load_state_dict(state["loop"])
        curve.extend(state["curve"])

    _advance(
        task, loop, state, state_dict, load_state_dict, job.rate, lambda loss: curve.append([loop.epoch, loss, None])
    )
    # ``learnt`` may change the model, but a checkpoint of the probe still holds the Loop's own tensors, so that a
    # resumed run restores the loop, finds it complete, and continues with the probe.
    network = loop.model.learnt.eval()
    train, test = (features(network, data, split, job.settings.precision) for split in (data.train, data.test))
    near = neighbours(train, data.train.labels, test, data.test.labels, len(data.classes), section_of(job.settings).knn)
    if settings := section_of(job.settings).probe:
        cropped = settings.augment == "rrc"
        seen = of_crops(network, data, settings.crop, job.settings.precision) if cropped else of_bank(train)
        labels, classes = data.train.labels, len(data.classes)
        probe = Probe(seen, train.shape[1], labels, classes, settings, job.settings.seed, job.name)
        probed = state and state["probe"]
        rate = f"objectives.{job.settings.objective}.probe.lr"
        _advance(task, probe, probed, state_dict, probe.load_state_dict, rate, live="probe.csv")
        network.classifier.load_state_dict(probe.classifier.state_dict())
    kept = {"last": {"weights": network.state_dict(), "epoch": loop.epoch}}
    finish(job, task, data, network, kept, curve, classifies=probe is not None, knn=near)


def _loop(job: Job, data: RealSet, model: type[Model], device: str) -> Loop:
    settings, training = job.settings, section_of(job.settings)
    channels, size, classes = data.shape
    draws = generator(settings.seed, job.name)
    network = build(job.network, channels, size, classes, draws)
    with seeded(draws), torch.no_grad():  # no graph behind a head's normalised weights, so that it can be copied
        learner = model(network, training, settings.precision).to(device)
    views = model.views(training, size)
    return Loop(
        learner, views, data.train.images, data.space.encode, training, settings.seed, job.name, data.info["flip"],
        settings.compile,
    )  # fmt: skip


def _advance(
    task: Task,
    work: Loop | Probe,
    state: dict | None,
    state_dict: Callable[[], dict],
    load_state_dict: Callable[[dict], None],
    lower: str,
    note: Callable[[float], None] = lambda loss: None,
    live: str = LIVE,
) -> None:
    """Runs a Loop or a Probe to its end; ``note`` is called with the loss of each epoch.

    Raises:
        Diverged: that loss is not finite; the sentence names the setting to ``lower``.
    """
    name = "the probe's loss" if isinstance(work, Probe) else "loss"

    def advance() -> dict[str, float] | None:
        if (loss := work.advance()) is None:
            return None
        require_finite({name: loss}, f"epoch {work.epoch} of {work.settings.epochs}", lower)
        note(loss)
        return {"loss": loss}

    complete(
        task,
        state,
        advance=advance,
        state_dict=state_dict,
        load_state_dict=load_state_dict,
        at=lambda: work.epoch,
        total=work.settings.epochs,
        unit="epoch",
        live=live,
    )


def _check(pool: "PoolSettings", path: str) -> None:
    if pool.keep != ["last"]:
        raise BadInput(f"{path}.keep is {', '.join(map(str, pool.keep))}, but {pool.objective} keeps last alone.")
    if bare := [word for word in pool.networks if not embeds(word)]:
        raise BadInput(f"{path}.networks has {bare[0]}, which has no features that {pool.objective} could teach.")
    if _locals(pool) and (rigid := [word for word in pool.networks if not any_size(word)]):
        raise BadInput(
            f"{path}.networks has {rigid[0]}, which takes images of one size only: choose a ResNet, or set "
            f"{pool.objective}.locals to 0."
        )


def _fits(job: Job, data: RealSet) -> None:
    """Raises BadInput if the settings do not suit the data."""
    training, count = section_of(job.settings), len(data.train)
    section = f"teacher's {job.settings.objective}"
    if training.batch > count:
        raise BadInput(f"the {section}.batch is {training.batch}, but there are {count} training images.")
    if training.knn.k > count:
        raise BadInput(f"the {section}.knn.k is {training.knn.k}, but there are {count} training images.")
    if data.space.kind == "whitened" and (count := _locals(job.settings)):
        raise BadInput(f"the {section}.locals is {count}, but whitening takes whole images: set it to 0.")


def _locals(pool: "PoolSettings") -> int:
    """Returns the number of small views of each image under the pool's objective."""
    return getattr(pool.training, "locals", 0)
