"""A step never waits for the device: found on a pretended card, without one, and by torch itself where there is one.

The host prepares the next step while the card computes this one; an operation that reads a number from the card, or
copies to it from memory that is not pinned, ends that. `ALLOWED` are the places that wait on purpose.
"""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from distillation import methods
from distillation.data.spaces import Space
from distillation.evaluation.steps import Batches, Steps
from distillation.labels.predict import teacher_logits
from distillation.labels.teacher_batches import OnlineBatches
from distillation.methods.driver import updates
from distillation.methods.guidance import Guidance
from distillation.networks.build import build
from distillation.runtime.random import generator, seeded
from distillation.runtime.transfers import to_device
from distillation.teachers import objectives
from distillation.teachers.pool import Pool
from distillation.teachers.selfsupervised.loop import Loop
from distillation.training.group import Group
from distillation.training.loop import Training
from distillation.training.losses import divergence, loss_of
from distillation.training.settings import OnlineSettings, TrainSettings
from tests.helpers.card import DEVICE, OnCard, pretended
from tests.helpers.data import CLASSES, ramp_set
from tests.helpers.methods import GUIDANCE, method_of
from tests.helpers.pools import experts_in, pool_in, seen_pool_in
from tests.helpers.selfsupervised import SMALL, section, word_of
from tests.helpers.training import SETTINGS

READ = "_local_scalar_dense"
AT_RECORDS = "called where values are recorded, and after the last unit"
ALLOWED = {
    (READ, "apm.py:APM.require_sound"): AT_RECORDS,
    (READ, "mtt.py:MTT.require_sound"): AT_RECORDS,
    (READ, "ridge.py:require_finite_loss"): AT_RECORDS,
    ("copy to the CPU", "spaces.py:Space.same.<locals>.<genexpr>"): "once for two spaces, which the pool remembers",
    ("copy from memory that is not pinned", "pool.py:Pool._network"): "once for a teacher, when it is first drawn",
    (READ, "moco_v2.py:MoCo.forward"): "lightly keeps the place in its queue on the device and reads it at every step",
    ("copy to the CPU", "group.py:Group.advance"): "the losses and hits of an epoch, once for all members",
    (READ, "loop.py:Loop.advance"): "the mean loss of an epoch, once an epoch of many steps",
}
SELECTING = {"gaussian", "herding", "imported", "kcenter", "kmeans", "random"}  # they take no steps
POOLS = {
    "apm": pool_in,
    "sre2l": seen_pool_in,
    "cda": seen_pool_in,
    "scdd": seen_pool_in,
    "krr_st": partial(pool_in, words=("ConvNetW6D2BN",)),
    "mtt": experts_in,
}
STEPPING = sorted(set(methods.names()) - SELECTING)


@pytest.fixture
def card(monkeypatch):
    with pretended(monkeypatch) as made:
        yield made


def waits(card):
    """What waited, but for what may."""
    return [wait for wait in dict.fromkeys(card.waits) if wait not in ALLOWED]


def on(name, folder, **more):
    """The method on the card, with its pool."""
    pool = Pool(POOLS[name](folder).folder, DEVICE) if name in POOLS else None
    return method_of(name, pool, device=DEVICE, **more)


@pytest.mark.parametrize("name", STEPPING)
def test_no_step_of_a_method_waits(name, tmp_path, card):
    method = on(name, tmp_path)
    with card.watching():
        count = sum(1 for _ in updates(method))
    assert count == method.total > 1
    assert waits(card) == []


@pytest.mark.parametrize("distance", ["ce", "ce_ratio", "cos"])
@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_no_step_of_guidance_waits(distance, scale, tmp_path, card):
    grey = Space.normalised([0.5], [0.25])
    pool = Pool(pool_in(tmp_path, space=grey, channels=1, size=4).folder, DEVICE)
    settings = {**GUIDANCE, "distance": distance, "scale": scale, "adapt": True}
    method = method_of("dm", pool, device=DEVICE, alpha=1.0, guidance=settings)
    guide = Guidance(method.problem, pool)
    with card.watching():
        assert all(isinstance(unit.metrics["guidance"], OnCard) for unit in updates(method, guide))
    assert waits(card) == []


AUGMENTS = ["none", "dsa", "crop_flip", "dc_crop_scale_rotate_noise"]


@pytest.mark.parametrize("augment", AUGMENTS)
def test_no_step_of_a_student_waits(augment, card):
    training = student(card, augment)
    with card.watching():
        while not training.done:
            training.advance()
    assert waits(card) == []


def student(card, augment="none", lesson=None):
    data = ramp_set().to(DEVICE)
    network = build("ConvNetW4D1BN", 1, 8, CLASSES, generator(0, "network")).to(DEVICE)
    settings = TrainSettings(**{**SETTINGS, "augment": augment})
    images, labels = data.encode(data.train.images), data.train.labels
    pad = data.space.pad_value()
    batch_of = lambda index: (images[index], labels[index])  # noqa: E731
    return Training(network, batch_of, 20, loss_of("ce"), settings, 0, "t", True, pad_value=pad)


@pytest.mark.parametrize("augment", ["none", "dsa", "crop_flip"])
def test_no_step_of_a_group_of_students_waits_but_at_the_end_of_an_epoch(augment, card):
    group = Group({0: student(card, augment), 2: student(card, augment)}, 3)
    with card.watching():
        while not group.done:
            group.advance()
    assert waits(card) == []


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix"])
def test_no_step_of_a_student_of_online_teachers_waits(mix, tmp_path, card):
    pool, data = Pool(pool_in(tmp_path).folder, DEVICE), method_of("dm", device=DEVICE).problem.data
    more = {"loss": "kl", "optimizer": "adamw", "horizon": None, "schedule": "cosine", "warmup": 0, "augment": "rrc"}
    numbers = {
        "epochs": 2,
        "batch": 4,
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "milestones": [],
        "decay": 0.1,
    }
    settings = OnlineSettings(**more, **numbers, crop=0.3, mix=mix, alpha=1.0)
    images = data.encode(data.train.images[:10])
    logits_of = teacher_logits(pool, data.space, "mean", "train")
    lesson = OnlineBatches(images, data.space, logits_of, settings, 4, True, 0, "t")
    network = build("ConvNetW4D1", 3, 8, CLASSES, generator(0, "network")).to(DEVICE)
    training = Training(network, None, 10, divergence("kl", 2.0), settings, 0, "t", True, lesson=lesson)
    with card.watching():
        while not training.done:
            training.advance()
    assert waits(card) == []


def test_no_step_of_a_transfer_waits(card):
    network = build("ConvNetW4D1", 3, 8, CLASSES, generator(0, "network")).to(DEVICE)
    images = torch.randn(10, 3, 8, 8).to(DEVICE)
    batches = Batches(10, 4, 0, "t")

    def loss_at(step):
        return network(images[to_device(batches(step), DEVICE)]).square().mean()

    steps = Steps(network, loss_at, torch.optim.SGD(network.parameters(), 0.1, foreach=True), lambda step: 1.0, 5)
    with card.watching():
        while not steps.done:
            assert isinstance(steps.advance()[0], OnCard)
    assert waits(card) == []


@pytest.mark.parametrize("name", SMALL)
def test_no_step_of_a_self_supervised_teacher_waits(name, card):
    objective, data = objectives.load(name), ramp_set().to(DEVICE)
    settings = objective.settings(**section(name))
    network = build(word_of(name), 1, 8, CLASSES, generator(0, "network"))
    with seeded(generator(0, "model")), torch.no_grad():
        model = objective.make.keywords["model"](network, settings, "fp32").to(DEVICE)
    loop = Loop(model, model.views(settings, 8), data.train.images[:40], data.space.encode, settings, 0, "t", False)
    with card.watching():
        while not loop.done:
            loop.advance()
    assert waits(card) == []


# The finder itself


@pytest.mark.parametrize(
    ("what", "read"),
    [
        ("_local_scalar_dense", lambda x: x.sum().item()),
        ("_local_scalar_dense", lambda x: float(x.sum())),
        ("_local_scalar_dense", lambda x: bool((x > 0).all())),
        ("copy to the CPU", lambda x: x.cpu()),
        ("copy to the CPU", lambda x: x.tolist()),
        ("copy to the CPU", lambda x: torch.zeros(3).copy_(x)),
        ("nonzero", lambda x: x.nonzero()),
        ("index by a mask", lambda x: x[x > 0]),
        ("index on the CPU", lambda x: x[torch.tensor([0, 1])]),
        ("masked_select", lambda x: x.masked_select(x > 0)),
        ("equal", lambda x: torch.equal(x, x + 1)),
        ("copy from memory that is not pinned", lambda x: torch.ones(3).to(x.device)),
        ("copy from memory that is not pinned", lambda x: x.copy_(torch.ones(3))),
        ("copy from memory that is not pinned", lambda x: torch.ones(3).pin_memory().to(x.device)),
        ("copy of numbers", lambda x: torch.tensor([1.0], device=x.device)),
        ("bincount", lambda x: torch.bincount((x > 0).long())),
    ],
)
def test_the_pretended_card_notes_what_waits(what, read, card):
    x = torch.tensor([1.0, -1.0, 2.0]).to(DEVICE)
    with card.watching():
        F.relu(x + 1).sum()
        to_device(torch.ones(3), x.device)
        assert card.waits == []
        read(x)
    assert [noted for noted, _ in card.waits] == [what]


def test_the_pretended_card_refuses_tensors_of_two_devices(card):
    with pytest.raises(AssertionError, match="mixes devices"):
        torch.ones(3).to(DEVICE) + torch.ones(3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", STEPPING)
def test_no_step_of_a_method_waits_on_a_true_card(name, tmp_path):
    pool = Pool(POOLS[name](tmp_path).folder, "cuda") if name in POOLS else None
    method = method_of(name, pool, device="cuda")
    units = updates(method)
    next(units)  # libraries are loaded, and memory is pinned for the first time
    torch.cuda.set_sync_debug_mode("error")
    try:
        while method.at < method.total - 1:  # the last ends with the check of ``require_sound``
            next(units)
    finally:
        torch.cuda.set_sync_debug_mode("default")
