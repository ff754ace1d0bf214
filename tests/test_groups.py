"""Small networks that are trained at once: the same results as one by one, whoever is beside them."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from distillation.evaluation import cells, classify
from distillation.evaluation.sets import Chosen, ClassMeans, random_choice
from distillation.networks.build import build
from distillation.networks.grouped import Grouped, groupable
from distillation.params import Compute
from distillation.runtime import stage
from distillation.runtime.errors import Diverged
from distillation.runtime.files import load_json
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.teachers.objectives import supervised, trajectory
from distillation.training.group import Group, group_size
from distillation.training.loop import Training
from distillation.training.losses import divergence, loss_of
from distillation.training.settings import LabelSettings, RegressionSettings, TrainSettings
from tests.helpers.data import CLASSES, SIZE, ramp_set
from tests.helpers.kills import killed_at
from tests.helpers.pools import settings_of
from tests.helpers.training import HARD, SETTINGS

pytestmark = pytest.mark.usefixtures("own_root")

COMPUTE = Compute(device="cpu", locks="auto", workers=1, threads=1, group=4, checkpoint=0.0)
WORDS = [
    *("ConvNetD2W8", "ConvNetD2W8NN", "ConvNetD2W8BN", "ConvNetD2W8LN", "ConvNetD2W8GN", "ConvNetD2W8ASwishMP"),
    *("ConvNetD2W8ASNP", "MLP", "ResNet10W8BN", "ResNet10W8BN_AP", "ResNet10W8", "MobileNetV2BN"),
]
POOL = {
    **{"source": "dataset", "objective": "supervised", "networks": ["ConvNetW4D1BN"], "count": 3},
    **{name: {"epochs": 3, "batch": 16} for name in ("supervised", "trajectory")},
}
AUGMENTS = [
    *("none", "dsa", "color", "crop", "cutout", "flip", "scale", "rotate", "crop_flip", "dc_crop_scale_rotate"),
]
ADAMW = {"loss": "mse", "epochs": 9, "batch": 4, "lr": 0.01, "weight_decay": 0.1, "warmup": 3, "augment": "dsa"}


def one(seed, word="ConvNetD2W8NN", settings=None, loss="ce", count=9, double=False, size=SIZE):
    """The Training of one network on images of its own."""
    draws = generator(seed, "images")
    images, labels = torch.randn(count, 1, size, size, generator=draws), torch.arange(count) % CLASSES
    targets = labels if loss == "ce" else torch.randn(count, CLASSES, generator=draws)
    network = build(word, 1, size, CLASSES, generator(seed, "network"))
    if double:
        network, images = network.double(), images.double()
        targets = targets.double() if loss != "ce" else targets
    settings = settings or TrainSettings(**{**SETTINGS, "batch": 4})
    made = divergence("kl", 4.0) if loss == "kl" else loss_of(loss)
    return Training(network, lambda index: (images[index], targets[index]), count, made, settings, seed, "t", True)


def settings_by(kind):
    """Settings with an optimiser that has a state."""
    if kind == "adamw":
        return RegressionSettings(**ADAMW)
    return TrainSettings(**{**SETTINGS, "batch": 4, "augment": "dsa"})


def trained(members, size, steps=7):
    """The states of all members, by seed, after some steps in a group."""
    group = Group(members, size)
    for _ in range(steps):
        group.advance()
    states = group.state_dicts()
    return {member.seed: copy.deepcopy(state) for member, state in zip(members.values(), states, strict=True)}


def equal(one, other):
    """Whether two states have the same bits."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return one == other


@pytest.mark.parametrize("word", WORDS)
def test_grouped_networks_compute_what_each_computes(word):
    networks = [build(word, 1, 16, CLASSES, generator(seed, "network")).double() for seed in range(3)]
    images = torch.randn(3, 5, 1, 16, 16, dtype=torch.float64)
    grouped = Grouped(networks)
    logits = grouped(images)
    alone = torch.stack([network(part) for network, part in zip(networks, images, strict=True)])
    torch.testing.assert_close(logits, alone, rtol=0, atol=1e-10)
    weights = torch.randn_like(logits)
    names = [name for name, _ in grouped.layers.named_parameters()]
    gradients = dict(zip(names, torch.autograd.grad((logits * weights).sum(), list(grouped.parameters())), strict=True))
    for place, network in enumerate(networks):
        own = torch.autograd.grad((alone[place] * weights[place]).sum(), list(network.parameters()))
        for (name, _), value in zip(network.named_parameters(), own, strict=True):
            torch.testing.assert_close(grouped.parts(gradients, place)[name], value, rtol=1e-7, atol=1e-9)
    for place, network in enumerate(networks):  # running statistics, which both have moved by now
        buffers = grouped.parts(dict(grouped.layers.named_buffers()), place)
        for name, value in network.named_buffers():
            torch.testing.assert_close(buffers[name], value)


def test_a_layer_that_looks_at_other_channels_is_not_grouped():
    assert not groupable("AlexCifarNet", 3, 32, 10)
    assert group_size(5, "AlexCifarNet", (3, 32, 10), 10, "cpu") == 1


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("size", [8, 9])
def test_bits_depend_on_the_place_and_not_on_the_company(augment, size):
    settings = TrainSettings(**{**SETTINGS, "batch": 4, "augment": augment})

    def members(*seeds):
        return {seed % 5: one(seed, settings=settings, size=size) for seed in seeds}

    whole = trained(members(0, 1, 2, 3, 4), 5)
    for seeds in ((2,), (3, 2, 9), (7, 8, 0)):
        for seed, state in trained(members(*seeds), 5).items():
            if seed in whole:
                assert equal(state, whole[seed]), (seeds, seed)


@pytest.mark.parametrize("word", WORDS)
def test_bits_do_not_depend_on_the_company_of_any_network(word):
    whole = trained({seed: one(seed, word, size=16) for seed in range(3)}, 3)
    assert equal(trained({1: one(1, word, size=16)}, 3)[1], whole[1])
    assert equal(trained({1: one(1, word, size=16), 2: one(8, word, size=16)}, 3)[1], whole[1])


@pytest.mark.parametrize("loss", ["ce", "l1", "mse", "kl"])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_member_of_a_group_learns_what_it_learns_alone(loss, kind):
    settings = settings_by(kind)
    together = trained(
        {seed: one(seed, "ConvNetD2W8BN", settings, loss, double=True) for seed in range(3)}, 4, steps=11
    )
    for seed in range(3):
        alone = one(seed, "ConvNetD2W8BN", settings, loss, double=True)
        for _ in range(11):
            alone.advance()
        state = alone.state_dict()
        assert {key: together[seed][key] for key in ("step", "lr")} == {key: state[key] for key in ("step", "lr")}
        torch.testing.assert_close(together[seed]["network"], state["network"], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(together[seed]["optimizer"], state["optimizer"], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(together[seed]["epoch_loss"], state["epoch_loss"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_member_that_is_stored_goes_on_in_another_group_with_the_same_bits(kind):
    settings = settings_by(kind)
    loss = "mse" if kind == "adamw" else "ce"

    def members(*seeds):
        return {seed % 4: one(seed, "ConvNetD2W8BN", settings, loss) for seed in seeds}

    whole = trained(members(0, 1, 2), 4, steps=9)
    early = trained(members(0, 1, 2), 4, steps=4)
    again = members(6, 1)
    for member in again.values():
        member.load_state_dict(early[1] if member.seed == 1 else trained(members(6), 4, steps=4)[6])
    assert equal(trained(again, 4, steps=5)[1], whole[1])
    parted = members(1, 2)
    group = Group(parted, 4)
    for _ in range(4):
        group.advance()
    group.part()
    assert equal(parted[1].state_dict(), early[1])
    group = Group({1: parted[1]}, 4)
    group.advance()
    assert equal(parted[2].state_dict(), early[2]), "who has left a group no longer changes with it"


def test_auto_groups_what_is_small_and_nothing_else():
    assert group_size("auto", "ConvNetD2W64NN", (1, 8, 10), 10, "cpu AVX2") == 10
    assert group_size("auto", "ConvNet", (3, 32, 10), 10, "cpu AVX2") == 1
    assert group_size("auto", "ConvNet", (3, 32, 10), 10, "NVIDIA H100") == 10
    assert group_size("auto", "ConvNet", (3, 32, 10), 100, "NVIDIA H100") == 1
    assert group_size(3, "ConvNet", (3, 32, 10), 100, "cpu AVX2") == 3
    assert group_size(1, "ConvNet", (3, 32, 10), 100, "cpu AVX2") == 1


def table(tmp_path, seeds=3, network="ConvNetW4D1BN", group=4, **changes):
    """Cells of random images and of class means, and their jobs."""
    data = ramp_set()
    data.save(tmp_path / "real")
    settings = LabelSettings(**{**HARD, "epochs": 6, "augment": "dsa", **changes})
    protocol = classify.Protocol(kind="hard", settings=settings, precision="fp32", compile=False, test_every=2)
    rows = [
        cells.Cell(set="random", draw=d, source=random_choice(data, 4, d), network=network, seed=d)
        for d in range(seeds)
    ]
    rows += [cells.Cell(set="mean", draw=0, source=ClassMeans(), network=network, seed=seed) for seed in range(2)]
    return rows, cells.jobs(
        "baseline@x", rows, protocol, tmp_path / "real", data, COMPUTE.model_copy(update={"group": group})
    )


def records(jobs):
    """The records of all students, computed as a stage does."""
    with stage.finished(classify.train, jobs, COMPUTE, together=classify.TOGETHER) as tasks:
        return {label: load_json(task.done / classify.RECORD) for label, task in zip(jobs, tasks, strict=True)}


def test_the_number_of_seeds_changes_no_student(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "few"))
    few = records(table(tmp_path, seeds=1)[1])
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "many"))
    many = records(table(tmp_path, seeds=6)[1])
    assert len(many) == 8 and {label: many[label] for label in few} == few


def test_one_student_alone_is_that_of_the_table(tmp_path, monkeypatch):
    _, jobs = table(tmp_path)
    whole = records(jobs)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "alone"))
    label = "baseline@x random 1 ConvNetW4D1BN 1"
    (task,) = stage.tasks_of(classify.train, {label: jobs[label]}, COMPUTE)
    classify.train(jobs[label], task, "cpu")
    assert load_json(task.done / classify.RECORD) == whole[label]


@pytest.mark.parametrize("writes", [1, 2, 5, 8, 13])
def test_a_group_that_was_killed_between_two_of_its_checkpoints_gives_the_same(tmp_path, monkeypatch, writes):
    _, jobs = table(tmp_path)
    whole = records(jobs)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "killed"))
    monkeypatch.setattr(Task, "due", lambda task: True)  # a checkpoint after every step
    seen = []
    with killed_at(lambda state: seen.append(state) or len(seen) == writes):
        records(jobs)
    assert records(jobs) == whole


def test_a_student_that_diverges_leaves_the_others_as_they_are(tmp_path, monkeypatch, capsys):
    _, jobs = table(tmp_path)
    whole = records(jobs)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    label = "baseline@x random 1 ConvNetW4D1BN 1"
    source = random_choice(ramp_set(), 4, 7)
    images = Chosen.images

    def spoilt(self, data, kind):
        batch_of, count = images(self, data, kind)
        return (lambda index: (batch_of(index)[0] * (math.nan if self == source else 1.0), batch_of(index)[1])), count

    monkeypatch.setattr(Chosen, "images", spoilt)
    changed = {**jobs, label: replace(jobs[label], source=source)}
    later = records(changed)
    assert math.isnan(later.pop(label)["loss"])
    assert f"{label}: loss is nan at epoch 1 of 6" in capsys.readouterr().err
    assert {name: whole[name] for name in later} == {name: later[name] for name in later}


def test_the_time_of_a_group_is_shared(tmp_path):
    _, jobs = table(tmp_path)
    with stage.finished(classify.train, jobs, COMPUTE, together=classify.TOGETHER) as tasks:
        each = [load_json(task.done / "cost.json")["seconds"] for task in tasks]
    assert len({round(seconds, 0) for seconds in each}) == 1


@pytest.mark.parametrize("objective", [supervised, trajectory])
def test_teachers_of_a_group_are_the_same_in_any_pool(tmp_path, monkeypatch, objective):
    data = ramp_set()
    data.save(tmp_path / "real")
    name = objective.__name__.rpartition(".")[2]
    settings = settings_of(POOL | {"objective": name})

    def weights(count, where):
        monkeypatch.setenv("DVC_ROOT", str(tmp_path / where))
        pool = settings.model_copy(update={"count": count})
        jobs = {
            f"teacher main {job.index}": job for job in objective.OBJECTIVE.jobs(pool, tmp_path / "real", data, COMPUTE)
        }
        assert [job.place for job in jobs.values()] == [index % 4 for index in range(count)]
        with stage.finished(objective.make, jobs, COMPUTE, together=objective.TOGETHER) as tasks:
            return [(task.done / "teacher.safetensors").read_bytes() for task in tasks]

    five, two = weights(5, "five"), weights(2, "two")
    assert five[:2] == two


def test_a_teacher_that_diverges_ends_the_stage_by_its_name(tmp_path):
    data = ramp_set()
    data.save(tmp_path / "real")
    settings = settings_of(POOL | {"count": 2})
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"lr": 1e9})})
    jobs = {
        f"teacher main {job.index}": job
        for job in supervised.OBJECTIVE.jobs(settings, tmp_path / "real", data, COMPUTE)
    }
    told = r"^teacher main \d: loss is .*lower objectives\.supervised\.lr\.$"
    with (
        pytest.raises(Diverged, match=told),
        stage.finished(supervised.make, jobs, COMPUTE, together=supervised.TOGETHER),
    ):
        pass


@pytest.mark.parametrize(
    "word", ["ConvNetD2W8", "ConvNetD2W8NN", "ConvNetD2W8BN", "ConvNetD2W8LN", "MLP", "ResNet10W8BN"]
)
def test_in_half_precision_a_member_stays_as_close_to_itself_alone_as_to_full_precision(word):
    def at(seed, precision):
        made = one(seed, word, settings_by("sgd"), size=16)
        made.precision = precision
        return made

    together = trained({seed: at(seed, "bf16") for seed in range(3)}, 4, steps=6)[1]["network"]
    alone = {precision: at(1, precision) for precision in ("bf16", "fp32")}
    for each in alone.values():
        for _ in range(6):
            each.advance()
    half, full = (each.network.state_dict() for each in alone.values())
    apart = max(float((together[name].float() - half[name].float()).abs().max()) for name in half)
    assert apart <= max(float((full[name].float() - half[name].float()).abs().max()) for name in half)


@pytest.mark.slow
def test_a_compiled_group_learns_what_an_eager_one_learns():
    states = {}
    for compile in (False, True):
        members = {seed: one(seed, settings=settings_by("sgd")) for seed in range(3)}
        for member in members.values():
            member.compile = compile
        states[compile] = trained(members, 4, steps=4)
    for seed in range(3):
        torch.testing.assert_close(states[True][seed]["network"], states[False][seed]["network"], rtol=1e-4, atol=1e-6)
