"""Pre-training, transfer and distillation against torch's own loops, resumed at every step, paired, and refusing bad input."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from distillation import checks, params
from distillation.augment.siamese import augment_batch
from distillation.augment.standard import crop_flip
from distillation.augment.strategy import resolve
from distillation.checks.dataset import described
from distillation.data.distilled import DistilledSet
from distillation.data.real import RealSet, Split
from distillation.data.spaces import Space
from distillation.evaluation import carried as cells
from distillation.evaluation import kd, transfer
from distillation.evaluation.pretrain import WEIGHTS, Job, pretrain, used_as
from distillation.evaluation.sets import FromFile, Noise
from distillation.evaluation.settings import training_settings
from distillation.evaluation.steps import Batches
from distillation.evaluation.transfer_settings import Distilling, Finetune, Linear, Pretrain
from distillation.labels.predict import by_the_batch, features
from distillation.networks.build import build
from distillation.params import validate
from distillation.runtime import process, stage, tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.files import load_json
from distillation.runtime.random import generator
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers.pool import FILE, Pool
from distillation.training.accuracy import accuracy
from distillation.training.schedules import warmup_cosine
from stages import kd as kd_stage
from stages import transfer as transfer_stage
from tests.helpers.clones import ROOT
from tests.helpers.data import CLASSES, RECORD, SIZE
from tests.helpers.parameters import product_params
from tests.helpers.pools import pool_in
from tests.helpers.training import HARD

torch.set_num_threads(1)
WORD = "ConvNetW6D2BN"
SOFT = {"steps": 7, "batch": 4, "lr": 0.003, "weight_decay": 0.01, "warmup": 3, "augment": "none"}
PRETRAIN = {"hard": HARD, "soft": SOFT, "features": {**HARD, "loss": "mse", "milestones": []}}
FINETUNE = {"steps": 6, "batch": 10, "lr": 0.02, "momentum": 0.9, "weight_decay": 0.01, "crop": 2}
LINEAR = {"steps": 6, "batch": 10, "lr": 0.2, "momentum": 0.9, "weight_decay": 0.0}
KD = {"epochs": 3, "batch": 4, "lr": 0.01, "lr_gaussian": 0.02, "weight_decay": 0.0, "augment": "none"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def real_set(name="noise", classes=CLASSES, channels=3, per_class=9, flip=True):
    draws = generator(0, name)
    images = torch.randint(0, 256, (classes * per_class, channels, SIZE, SIZE), dtype=torch.uint8, generator=draws)
    split = Split(images, torch.arange(classes).repeat(per_class))
    names = [f"{name} {c}" for c in range(classes)]
    info = {"name": name, "classes": names, "channels": channels, "size": SIZE, "flip": flip}
    space = Space.normalised([0.4, 0.5, 0.6][:channels], [0.2, 0.25, 0.3][:channels])
    return RealSet(split, Split(images.flip(0), split.labels.flip(0)), space, info)


def made_set(kind, count=6, width=5):
    draws = generator(0, "made", kind)
    images, labels = torch.rand(count, 3, SIZE, SIZE, generator=draws), torch.arange(count) % CLASSES
    targets = None if kind == "hard" else torch.rand(count, width if kind == "features" else CLASSES, generator=draws)
    targets = targets / targets.sum(1, keepdim=True) if kind == "soft" else targets
    labels = None if kind == "features" else labels
    return DistilledSet(images, labels, targets, Space.raw(), {**RECORD, "labels": kind})


@pytest.fixture
def files(tmp_path):
    real_set().save(tmp_path / "data/real/dataset")
    real_set("other", 4, per_class=7, flip=False).save(tmp_path / "data/real/targets/other")
    for kind in ("hard", "soft", "logits", "features"):
        made_set(kind, width=5 if kind == "features" else CLASSES).save(tmp_path / f"{kind}.safetensors")
    (tmp_path / "pool").mkdir()
    pool_in(tmp_path / "pool", (WORD,), classes=("w", "x", "y", "z"))
    return tmp_path


def finished(work, job, kills=()):
    """The finished task of a job; it is killed after each of its steps in ``kills`` and started again."""

    def checkpoint(task, state):
        save(task, state)
        if state["training"].get("at") in kills and state["training"]["at"] not in killed:
            killed.append(state["training"]["at"])
            raise KeyboardInterrupt

    save, killed = Task.checkpoint, []
    task = Task.of(work.__name__, {"kills": list(kills)}, 0.0)
    with pytest.MonkeyPatch.context() as patch, locked_tasks([task]):
        patch.setattr(Task, "due", lambda task: True)
        patch.setattr(Task, "checkpoint", checkpoint)
        for _ in kills:
            with pytest.raises(KeyboardInterrupt):
                work(job, task, "cpu")
        work(job, task, "cpu")
        assert sorted(killed) == sorted(kills)
    return task


def pretraining(files, kind, settings=None, seed=0):
    used = used_as(files / f"{kind}.safetensors")
    given = validate(Pretrain, {**PRETRAIN, used: {**PRETRAIN[used], **(settings or {})}}, "evaluate.pretrain")
    return Job(
        data=files / "data/real/dataset",
        source=FromFile(files / f"{kind}.safetensors"),
        kind=used,
        network=WORD,
        seed=seed,
        settings=getattr(given, used),
        precision="fp32",
        compile=False,
    )


def weights_of(task):
    return tensors.load(task.finished() / WEIGHTS)[0]


def record_of(task):
    return load_json(task.finished() / transfer.RECORD)


def close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


# Steps


def test_batches_show_every_image_once_an_epoch_whatever_was_asked_before():
    batches = Batches(10, 4, 0, "any")
    epochs = [torch.cat([batches(e * 3 + place) for place in range(3)]) for e in range(3)]
    assert all(torch.equal(epoch.sort().values, torch.arange(10)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and len(batches(2)) == 2
    assert torch.equal(Batches(10, 4, 0, "any")(4), batches(4)) and not torch.equal(
        Batches(10, 4, 1, "any")(4), batches(4)
    )


def test_the_rate_is_torchs_cosine_after_a_linear_warmup():
    leaf = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([leaf], 1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for step in range(20):
        assert warmup_cosine(step, 20) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()
    assert [warmup_cosine(step, 20, 4) for step in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert warmup_cosine(12, 20, 4) == pytest.approx(0.5) and warmup_cosine(19, 20, 4) == pytest.approx(
        (1 + math.cos(math.pi * 15 / 16)) / 2
    )


# Pre-training


@pytest.mark.parametrize("kind", ["hard", "soft", "logits", "features"])
def test_pre_training_is_the_published_one_for_each_kind_of_labels(files, kind):
    made = DistilledSet.load(files / f"{kind}.safetensors")
    targets = made.labels if kind == "hard" else made.targets
    outputs = CLASSES if kind == "hard" else targets.shape[1]
    network = build(WORD, 3, SIZE, outputs, generator(0, "student", WORD))
    name = f"student/{WORD}"
    if used_as(files / f"{kind}.safetensors") == "soft":
        optimizer = torch.optim.AdamW(network.parameters(), 0.003, weight_decay=0.01)
        rates = [0.0, 0.001, 0.002] + [0.003 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]
        order = [
            part for e in range(4) for part in torch.randperm(6, generator=generator(0, name, "order", e)).split(4)
        ]
        steps = list(zip(order[:7], rates, strict=True))
    else:
        optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=0.01)
        steps = [
            (part, 0.005 if e == 2 and kind == "hard" else 0.05)
            for e in range(3)
            for part in torch.randperm(6, generator=generator(0, name, "order", e)).split(4)
        ]
    for index, rate in steps:
        optimizer.param_groups[0]["lr"] = rate
        said, wanted = network(made.images[index]), targets[index]
        if kind == "hard":
            loss = F.cross_entropy(said, wanted)
        elif kind == "features":
            loss = ((said - wanted) ** 2).mean()
        else:
            loss = (0.5 * (said - wanted) ** 2).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    close(weights_of(finished(pretrain, pretraining(files, kind))), dict(network.state_dict()))


def test_the_body_starts_the_same_whatever_the_labels_are(files):
    bodies = [build(WORD, 3, SIZE, outputs, generator(3, "student", WORD)).body for outputs in (CLASSES, 512)]
    for a, b in zip(*(body.state_dict().values() for body in bodies), strict=True):
        assert torch.equal(a, b)


def test_soft_pre_training_resumed_at_every_step_gives_the_same_bits(files):
    whole = weights_of(finished(pretrain, pretraining(files, "soft", {"augment": "dsa"})))
    killed = weights_of(finished(pretrain, pretraining(files, "soft", {"augment": "dsa"}), (1, 2, 5)))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.parametrize("flip", [True, False])
def test_soft_pre_training_mirrors_where_that_keeps_the_class(files, monkeypatch, flip):
    real_set(flip=flip).save(files / "data/real/dataset")
    seen = []
    monkeypatch.setattr("distillation.evaluation.pretrain.augment_batch", lambda x, s, d: seen.append(s) or x)
    finished(pretrain, pretraining(files, "soft", {"augment": "dsa"}))
    assert set(seen) == {resolve("auto", flip)} and ("flip" in resolve("auto", flip)) == flip


def test_labels_that_are_not_with_the_images_are_refused(files):
    made = made_set("hard")
    made.info.update(labels="online", labelling={"pick": "one", "mode": "eval", "temperature": 1.0}, label_bytes=1)
    made.save(files / "a.safetensors")
    with pytest.raises(
        BadInput, match=r"labels of kind online, but pre-training takes hard, soft, logits, regression, features\.$"
    ):
        used_as(files / "a.safetensors")


# Transfer


def carrying(files, protocol="finetune", start=None, **settings):
    schema, values = {"finetune": (Finetune, FINETUNE), "linear": (Linear, LINEAR)}[protocol]
    given = validate(schema, {**values, **settings}, f"evaluate.transfer.{protocol}")
    return transfer.Job(
        data=files / "data/real/targets/other",
        start=start,
        protocol=protocol,
        settings=given,
        network=WORD,
        seed=0,
        precision="fp32",
        compile=False,
    )


def test_everything_but_the_classifier_is_carried_over(files):
    start = finished(pretrain, pretraining(files, "features"))
    fresh, carried = (
        transfer.carried(WORD, (3, SIZE, 4), each, generator(0, "transfer", WORD)) for each in (None, start)
    )
    before = weights_of(start)
    assert any("running_var" in name for name in before)
    for name, value in carried.state_dict().items():
        wanted = fresh.state_dict()[name] if name.startswith("classifier.") else before[name]
        assert torch.equal(value, wanted), name
    assert not torch.equal(fresh.body[0].weight, carried.body[0].weight)


def test_fine_tuning_is_the_published_one(files):
    start = finished(pretrain, pretraining(files, "features"))
    data = RealSet.load(files / "data/real/targets/other")
    network = transfer.carried(WORD, data.shape, start, generator(0, "transfer", WORD))
    optimizer = torch.optim.SGD(network.parameters(), 0.02, 0.9, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    name = f"transfer/{WORD}"
    order = [part for e in range(2) for part in torch.randperm(28, generator=generator(0, name, "order", e)).split(10)]
    for step, index in enumerate(order):
        raw = crop_flip(data.train.images[index] / 255, generator(0, name, "augment", step), False, 2)
        assert (raw == 0).any(), "what comes in from outside is black, not the mean"
        optimizer.zero_grad()
        F.cross_entropy(network(data.space.encode(raw)), data.train.labels[index]).backward()
        optimizer.step()
        schedule.step()
    record = record_of(finished(transfer.transfer, carrying(files, start=start)))
    assert record["steps"] == 6 and record["accuracy"] == pytest.approx(accuracy(network, data, data.test))


def test_linear_evaluation_trains_the_classifier_alone_on_frozen_features(files):
    start = finished(pretrain, pretraining(files, "features"))
    data = RealSet.load(files / "data/real/targets/other")
    network = transfer.carried(WORD, data.shape, start, generator(0, "transfer", WORD)).eval()
    with torch.no_grad():
        known = network.embed(data.encode(data.train.images))
    optimizer = torch.optim.SGD(network.classifier.parameters(), 0.2, 0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    for e in range(2):
        for index in torch.randperm(28, generator=generator(0, f"linear/{WORD}", "order", e)).split(10):
            optimizer.zero_grad()
            F.cross_entropy(network.classifier(known[index]), data.train.labels[index]).backward()
            optimizer.step()
            schedule.step()
    record = record_of(finished(transfer.transfer, carrying(files, "linear", start)))
    assert record["accuracy"] == pytest.approx(accuracy(network, data, data.test))


@pytest.mark.parametrize("protocol", ["finetune", "linear"])
def test_a_transfer_resumed_at_any_step_gives_the_same_record(files, protocol):
    whole, killed = (record_of(finished(transfer.transfer, carrying(files, protocol), kills)) for kills in ((), (1, 4)))
    assert whole == killed


@pytest.mark.parametrize("protocol", ["finetune", "linear"])
def test_images_are_encoded_in_full_precision(files, monkeypatch, protocol):
    """Whitening is a product of matrices, which autocast would round to bf16 in training, but not in the test."""
    rounded, encode = [], Space.encode
    monkeypatch.setattr(Space, "encode", lambda *x: rounded.append(torch.is_autocast_enabled("cpu")) or encode(*x))
    finished(transfer.transfer, replace(carrying(files, protocol), precision="bf16"))
    assert rounded and not any(rounded)


def test_steps_auto_are_the_published_ones():
    settings = validate(Finetune, {**FINETUNE, "steps": "auto"}, "evaluate.transfer.finetune")
    assert [settings.on(name) for name in ("cifar10", "tinyimagenet", "cars", "svhn")] == [10000, 10000, 5000, 5000]


# Distillation without data of the target


def teaching(files, source, kind=None, start=None, **settings):
    return kd.Job(
        data=files / "data/real/targets/other",
        teachers=files / "pool" / FILE,
        images_from=files / "data/real/dataset",
        source=source,
        kind=kind,
        start=start,
        settings=validate(Distilling, {**KD, **settings}, "evaluate.kd"),
        network=WORD,
        seed=0,
        precision="fp32",
        compile=False,
    )


@pytest.mark.parametrize("noise", [False, True])
def test_distillation_is_the_published_one(files, noise):
    start = finished(pretrain, pretraining(files, "features"))
    data = RealSet.load(files / "data/real/targets/other")
    student = transfer.carried(WORD, data.shape, None if noise else start, generator(0, "transfer", WORD))
    teacher = build(WORD, 3, SIZE, 4, generator(1, "teacher", WORD, "last")).train()
    images = DistilledSet.load(files / "features.safetensors").images
    optimizer = torch.optim.AdamW(student.parameters(), 0.02 if noise else 0.01, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    name, step = f"kd/{WORD}", 0
    for epoch in range(3):
        for index in torch.randperm(6, generator=generator(0, name, "order", epoch)).split(4):
            draws = generator(0, name, "noise", step)
            batch = torch.randn((len(index), 3, SIZE, SIZE), generator=draws) if noise else images[index]
            with torch.no_grad():
                wanted = teacher(batch).softmax(1)
            optimizer.zero_grad()
            F.cross_entropy(student(batch), wanted).backward()
            optimizer.step()
            step += 1
        schedule.step()
    given = (Noise(6), None, None) if noise else (FromFile(files / "features.safetensors"), "features", start)
    record = record_of(finished(kd.distill_knowledge, teaching(files, *given)))
    assert record["steps"] == 6 and record["accuracy"] == pytest.approx(accuracy(student, data, data.test))
    with torch.no_grad():
        said = student.train()(data.encode(data.test.images)).argmax(1)
    assert record["batch_accuracy"] == pytest.approx(100 * float((said == data.test.labels).float().mean()))


def test_a_distillation_resumed_at_any_step_gives_the_same_record(files):
    job = teaching(files, FromFile(files / "hard.safetensors"), "hard", augment="dsa")
    records = [record_of(finished(kd.distill_knowledge, job, kills)) for kills in ((), (1, 3))]
    assert records[0] == records[1]


def test_images_are_augmented_one_operation_a_batch(files):
    job = teaching(files, FromFile(files / "hard.safetensors"), "hard", augment="dsa")
    images_at, batches = kd._images(job, "kd/any", RealSet.load(job.data), "cpu")
    images = DistilledSet.load(files / "hard.safetensors").images
    for step in range(4):
        draws = generator(0, "kd/any", "augment", step)
        assert torch.equal(images_at(step), augment_batch(images[batches(step)], resolve("auto", True), draws))


def test_by_the_batch_leaves_what_a_network_saw_in_training():
    network = build(WORD, 3, SIZE, 4, generator(0, "any")).eval()
    copy, images = by_the_batch(network), torch.randn(5, 3, SIZE, SIZE, generator=generator(0, "images"))
    before = {name: value.clone() for name, value in copy.state_dict().items()}
    with torch.no_grad():
        said = copy(images)
    assert all(torch.equal(value, before[name]) for name, value in copy.state_dict().items())
    torch.testing.assert_close(said, network.train()(images).detach())


# Cells


@pytest.fixture
def planned(files):
    """A function of a stage script, its arguments and changed parameters: folders of the first cell and its pre-training."""
    names = [f"other {c}" for c in range(4)]
    pool_in(files / "models/teachers/judge", (WORD,), classes=names)
    real_set("other", 4, per_class=8, flip=False).save(files / "data/real/targets/more")
    made_set("features").save(files / "data/relabeled/distilled.safetensors")

    def plan(script, *arguments, changes=()):
        plans, found = [], product_params(dict([*SMALL, *changes]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process, "begin", lambda: None)
            patch.setattr(params, "load", lambda: found)
            patch.setattr(stage, "produce", lambda *values, before: plans.append(values))
            script.run(*arguments)
        ((*_, work, jobs, compute),) = plans
        task, job = stage.tasks_of(work, jobs, compute)[0], next(iter(jobs.values()))
        return task.folder, job.start and job.start.folder

    return plan


SMALL = [("evaluate.networks", [WORD]), ("evaluate.seeds", 1), ("method.ipc", 1)]
DISTILLED = (transfer_stage, "distilled", "other")


def test_one_pre_trained_network_serves_every_protocol_target_and_teacher(files, planned):
    _, one = planned(*DISTILLED)
    for other in ((kd_stage, "distilled", "other", "judge"), (transfer_stage, "distilled", "more")):
        task, start = planned(*other)
        assert start == one and task.name.split("@")[0] == other[0].STAGES["distilled"]
    for change in (
        ("evaluate.transfer.finetune.lr", 2.0),
        ("evaluate.transfer.protocols", ["linear"]),
        ("evaluate.seeds", 9),
        ("evaluate.pretrain.hard.lr", 2.0),
        ("compute.workers", 3),
    ):
        assert planned(*DISTILLED, changes=[change])[1] == one, change
    for change in (
        ("evaluate.pretrain.features.lr", 2.0),
        ("evaluate.networks", ["ConvNetW7D2BN"]),
        ("evaluate.precision", "bf16"),
        ("compute.threads", 7),
    ):
        assert planned(*DISTILLED, changes=[change])[1] != one, change
    real_set(per_class=10).save(files / "data/real/dataset")
    two = planned(*DISTILLED)[1]
    made_set("features", count=7).save(files / "data/relabeled/distilled.safetensors")
    assert len({one, two, planned(*DISTILLED)[1]}) == 3


def test_a_cell_is_made_anew_only_for_what_changes_it(files, planned):
    scratch = (transfer_stage, "baseline", "other")

    def same(stage, *changes):
        return planned(*stage, changes=changes)[0] == planned(*stage)[0]

    assert same(DISTILLED, ("evaluate.transfer.linear.lr", 2.0), ("evaluate.seeds", 9))
    assert same(DISTILLED, ("evaluate.transfer.protocols", ["finetune", "linear"]))
    assert same(DISTILLED, ("evaluate.kd.lr", 2.0))
    assert not same(DISTILLED, ("evaluate.transfer.finetune.lr", 2.0))
    assert not same(DISTILLED, ("evaluate.pretrain.features.lr", 2.0))
    assert planned(*scratch)[1] is None
    assert same(scratch, *((f"evaluate.pretrain.{kind}.lr", 2.0) for kind in ("hard", "soft", "features")))
    taught = (kd_stage, "distilled", "other", "judge")
    assert same(taught, ("evaluate.transfer.finetune.lr", 2.0))
    assert not same(taught, ("evaluate.kd.lr", 2.0))
    before = [planned(*each)[0] for each in (taught, DISTILLED, scratch)]
    pool_in(files / "models/teachers/judge", (WORD, "ConvNetW5D2"), classes=[f"other {c}" for c in range(4)])
    after = [planned(*each)[0] for each in (taught, DISTILLED, scratch)]
    assert [a == b for a, b in zip(after, before, strict=True)] == [False, True, True]


def test_a_target_of_another_shape_is_refused_in_one_sentence(files):
    real_set("grey", channels=1).save(files / "grey")
    shapes = real_set().shape, RealSet.load(files / "grey").shape
    with pytest.raises(
        BadInput, match=r"^the target's images are 1×8×8, but those of the dataset, .* 3×8×8: .* colour\.$"
    ):
        cells.produce("t", "out", None, None, [], None, students=None, settings=None, compute=None, shapes=shapes)


def test_a_teacher_that_does_not_know_the_target_is_refused_in_one_sentence(files):
    names = [f"other {c}" for c in range(4)]
    theirs, which = RealSet.load(files / "data/real/targets/other"), "evaluate.kd.teachers.other is 'p'"
    kd.require_same_task(pool_in(files / "pool", (WORD,), classes=names), theirs, which)
    with pytest.raises(
        BadInput, match=r"^evaluate\.kd\.teachers\.other is 'p', whose classes are not those of the target"
    ):
        kd.require_same_task(pool_in(files / "pool", (WORD,)), theirs, which)
    with pytest.raises(BadInput, match=r"is 'p', which takes 3 channels of 16 px, but .* target are 3 of 8 px\.$"):
        kd.require_same_task(pool_in(files / "pool", (WORD,), classes=names, size=16), theirs, which)


# Feature labels


def test_feature_labels_are_those_of_the_first_network(files):
    pool, made = Pool(files / "pool"), made_set("hard")
    said = features(pool, made.images, made.space)
    wanted = pool.network(pool.members[0]).embed(pool.space.encode(made.images))
    assert torch.equal(said, wanted)


def test_no_protocol_of_classes_takes_feature_labels():
    given = params.load(ROOT / "params.yaml")
    for protocol in ("standard", "common"):
        with pytest.raises(
            BadInput, match=rf"^the protocol {protocol} trains classes, but the set is labelled with features: .*\.$"
        ):
            training_settings(given, protocol, "features")


@pytest.mark.parametrize("work", ["pretrain", "finetune", "kd", "training"])
def test_what_a_process_compiled_before_is_forgotten_before_a_network_is_compiled(files, monkeypatch, work):
    said = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: said.append("reset"))
    monkeypatch.setattr(torch, "compile", lambda network, **_: said.append("compile") or network)
    does, job = {
        "pretrain": (pretrain, pretraining(files, "soft")),
        "finetune": (transfer.transfer, carrying(files)),
        "kd": (kd.distill_knowledge, teaching(files, Noise(6))),
        "training": (pretrain, pretraining(files, "hard")),
    }[work]
    finished(does, replace(job, compile=True))
    assert said == ["reset", "compile"]


# Settings


def checked(change):
    checks.check_all(product_params(change))


def test_the_default_transfers_to_nothing():
    checked({})
    checked({"evaluate.protocols": []})
    checked({"method.name": "krr_st", "evaluate.protocols": []})
    checked({"method.name": "krr_st", "relabel.kind": "online", "evaluate.protocols": ["standard"]})
    checked({"method.name": "krr_st", "relabel.kind": "probs", "evaluate.protocols": ["common"]})


def test_a_set_of_another_size_than_its_controls_is_noted():
    given = params.load(ROOT / "params.yaml")
    given.values["method"] |= {"name": "krr_st", "ipc": 10, "alpha": 0.0}
    for images, said in ((None, 0), (100, 0), (1000, 1)):
        given.values["method"]["krr_st"]["images"] = images
        assert len(list(checks.notes(given))) == said
    (note,) = checks.notes(given)
    assert note == (
        "method.krr_st.images is 1000, but the random and k-means images beside it are 100, method.ipc = 10 of each class."
    )


LARGE = {
    "source": "targets/c",
    "objective": "imported",
    "networks": ["resnet18"],
    "imported": {"weights": "IMAGENET1K_V1", "classes": "source"},
}


@pytest.mark.parametrize(
    ("shape", "words"), [((1, 8), "1 channel of 8 px"), ((3, None), "3 channels"), ((None, 16), "16 px")]
)
def test_of_a_shape_only_what_is_known_is_said(shape, words):
    assert described(shape) == words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method.name": "krr_st"}, "^the protocol standard trains classes, but the set is labelled with features"),
        ({"relabel.kind": "features"}, "^the protocol standard trains classes"),
        (
            {"method.name": "krr_st", "relabel.kind": "online", "evaluate.protocols": ["common"]},
            r"^the protocol common trains classes, but the set of krr_st has none, and relabel\.kind online .* probs\.$",
        ),
        (
            {
                "method.name": "imported",
                "method.imported.labels": "features",
                "relabel.kind": "fkd",
                "evaluate.protocols": ["common"],
            },
            r"^the protocol common trains classes, but the set of imported has none, and relabel\.kind fkd ",
        ),
        (
            {"method.name": "krr_st", "evaluate.protocols": [], "method.alpha": 1.0},
            "has no image gradient that guidance",
        ),
        (
            {"targets.c": {"name": "cifar10"}},
            r"^targets\.c has images of 3 channels of 32 px, but those of the dataset have 1 channel of 8 px: ",
        ),
        (
            {
                "dataset.name": "imagefolder",
                "dataset.archive": "a.tar",
                "dataset.colour": "grey",
                "targets.c": {"name": "cifar10"},
            },
            r"^targets\.c has images of 3 channels of 32 px, but those of the dataset have 1 channel: ",
        ),
        (
            {"evaluate.kd.teachers": {"c": "main"}},
            r"^evaluate\.kd\.teachers\.c is of no dataset of targets, which has none\.$",
        ),
        (
            {"targets.c": {"name": "digits"}, "evaluate.kd.teachers": {"c": "main"}},
            r"^evaluate\.kd\.teachers\.c is 'main', whose teachers do not classify that target: their source is dataset\.$",
        ),
        (
            {"targets.c": {"name": "digits"}, "evaluate.kd.teachers": {"c": "none"}},
            r"^evaluate\.kd\.teachers\.c is 'none', but the pools",
        ),
        (
            {"targets.c": {"name": "digits"}, "evaluate.kd.teachers": {"c": "large"}, "teacher.large": LARGE},
            r"^evaluate\.kd\.teachers\.c is 'large', which takes images of 3 channels of 224 px, but .* 1 channel of 8 px\.$",
        ),
        (
            {"evaluate.protocols": ["transfer"]},
            r"^evaluate\.protocols has 'transfer', but the protocols are standard, common; transfer",
        ),
        (
            {"evaluate.protocols": [{}]},
            r"^evaluate\.protocols has \{\}, but the protocols are standard, common; transfer",
        ),
        ({"evaluate.protocols": [["standard"]]}, r"^evaluate\.protocols has \['standard'\], but the protocols are "),
        ({"evaluate.transfer.protocols": []}, r"^evaluate\.transfer\.protocols "),
        ({"evaluate.pretrain.features.loss": "ce"}, r"features\.loss must be mse for features labels"),
        ({"evaluate.pretrain.soft.warmup": 10000}, "warms up for 10000 of 10000 steps"),
        ({"evaluate.transfer.finetune.steps": 0}, r"^evaluate\.transfer\.finetune\.steps is 0"),
        ({"evaluate.kd.student": "eval"}, r"^evaluate\.kd\.student is not a setting"),
    ],
)
def test_bad_settings_are_one_sentence(change, words):
    with pytest.raises(BadInput, match=words) as caught:
        checked(change)
    assert "\n" not in str(caught.value)


def test_rows_name_set_target_protocol_network_and_seed(files):
    task = finished(transfer.transfer, carrying(files))
    cell = cells.Cell(set="scratch", source=None, kind=None, network=WORD, seed=0, protocol="finetune")
    (files / "out").mkdir()
    cells.write(files / "out", [cell], [task], "other", {"settings": {}})
    rows = pd.read_csv(files / "out/rows.csv")
    assert rows.columns.tolist() == ["set", "target", "protocol", "network", "seed", "accuracy", "loss", "steps"]
