"""Training against torch's own loop, resumed between any two steps; teachers, labels and evaluation on small data."""

import csv
import math
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2.functional import resized_crop

from distillation import params
from distillation.augment import crops
from distillation.augment.standard import crop_flip, resized_crop_flip
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.spaces import Space
from distillation.evaluation import cells
from distillation.evaluation import classify as students
from distillation.evaluation.sets import ClassMeans, FromFile, Whole, k_means_choice, random_choice
from distillation.evaluation.settings import NETWORK_SETS, EvaluateCommon, training_settings
from distillation.labels.predict import predictions
from distillation.networks.build import build
from distillation.networks.names import canonical
from distillation.params import Compute, Params, validate
from distillation.runtime import files, stage, tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers import objective
from distillation.teachers.objectives import supervised
from distillation.teachers.pool import Pool
from distillation.training.accuracy import accuracy
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import LabelSettings, SupervisedSettings
from tests.helpers.clones import ROOT
from tests.helpers.data import CLASSES, RECORD, noise_set, ramp_set
from tests.helpers.pools import pool_in, settings_of
from tests.helpers.training import SETTINGS, training

pytestmark = pytest.mark.usefixtures("own_root")


DATA = ramp_set()


def test_what_comes_in_from_outside_is_black_as_if_padded_before_normalising():
    data, made = ramp_set(), training({"augment": "crop_flip"})[0]
    made.pad_value = data.space.pad_value()
    made.set_order()
    seen = made.augmented(made.batch(0)[0])
    raw = data.train.images[made.order[:8]].float() / 255
    padded = crop_flip(raw, generator(0, "t", "augment", 0), False)
    assert (padded == 0).any()
    torch.testing.assert_close(seen, data.space.encode(padded))


@pytest.mark.parametrize(("loss", "targets"), [("ce", None), ("ce", "soft"), ("l1", "logits"), ("mse", "logits")])
def test_training_agrees_with_the_plain_loop(loss, targets):
    targets = torch.rand(60, CLASSES, generator=generator(0, "targets")) if targets else None
    if loss == "ce" and targets is not None:
        targets = targets.softmax(1)
    made, batch_of = training(loss=loss, targets=targets)
    plain = build("ConvNetW4D1BN", 1, 8, CLASSES, generator(0, "network"))
    optimizer = torch.optim.SGD(plain.parameters(), 0.05, 0.9, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [2, 4], 0.1
    )  # 0.75 of 6 epochs is 4.5, and halves go to even
    for epoch in range(6):
        order = torch.randperm(20, generator=generator(0, "t", "order", epoch))
        for index in order.split(8):
            x, y = batch_of(index)
            logits = plain(x)
            value = {"ce": F.cross_entropy, "l1": F.l1_loss, "mse": F.mse_loss}[loss](logits, y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        schedule.step()
    while not made.done:
        made.advance()
    for a, b in zip(made.network.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("augment", ["none", "dsa", "crop_flip", "color_cutout"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_resumed_between_any_two_steps_gives_the_same_bits(augment, momentum, tmp_path):
    def run(stops):
        made, _ = training({"augment": augment, "momentum": momentum})
        record = []
        while not made.done:
            if made.step in stops:
                tensors.save(tmp_path / "x", made.state_dict()["network"], {})
                state = made.state_dict()
                state = {**state, "network": {k: v.clone() for k, v in state["network"].items()}}
                made, _ = training({"augment": augment, "momentum": momentum})
                made.load_state_dict(state)
            record.append(made.advance())
        return made.network.state_dict(), [r for r in record if r]

    (a, seen), (b, seen_again) = run([]), run([0, 1, 2, 3, 7, 8, 16])
    assert seen == seen_again
    assert all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def test_training_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    made, _ = training({"augment": "dsa", "epochs": 1})
    while not made.done:
        made.advance()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_accuracy_of_an_epoch_is_that_of_its_batches():
    made, _ = training({"epochs": 1, "batch": 20, "lr": 1e-9})
    _, hits = made.advance()
    data = ramp_set()
    made.network.train()
    logits = made.network(data.encode(data.train.images[:20]))
    assert hits == pytest.approx(100 * (logits.argmax(1) == data.train.labels[:20]).double().mean().item())


def test_accuracy_does_not_depend_on_the_chunk():
    made, _ = training()
    data = ramp_set()
    assert len({accuracy(made.network, data, data.test, chunk=c) for c in (1, 7, 60)}) == 1


def test_crop_flip_moves_whole_pixels():
    images = torch.rand(50, 1, 16, 16, generator=generator(0, "images")) + 1
    moved = crop_flip(images, generator(0, "moves"), flip=False)
    for image, result in zip(images, moved, strict=True):
        candidates = [F.pad(image, [2] * 4)[:, r : r + 16, c : c + 16] for r in range(5) for c in range(5)]
        assert any(torch.equal(result, candidate) for candidate in candidates)
    mirrored = crop_flip(images, generator(0, "moves"), flip=True)
    same = (mirrored == moved).flatten(1).all(1)
    assert 10 < same.sum() < 40


def test_resized_crops_are_torchvisions_of_the_same_boxes():
    images = torch.rand(40, 3, 16, 16, generator=generator(0, "images"))
    moved = resized_crop_flip(images, generator(0, "moves"), False, 0.08)
    boxes = crops.resized(40, 16, (0.08, 1.0), generator(0, "moves"))
    for image, result, box in zip(images, moved, boxes.tolist(), strict=True):
        wanted = resized_crop(image, *box, [16, 16], antialias=True)  # PIL's, which enlarges as without
        torch.testing.assert_close(result, wanted, atol=1e-5, rtol=1e-5)
    mirrored = resized_crop_flip(images, generator(0, "moves"), True, 0.08)
    same = (mirrored == moved).flatten(1).all(1)
    assert torch.equal(mirrored[~same], moved[~same].flip(3)) and 8 < same.sum() < 32


# SRe2L squeezes on Tiny-ImageNet by a rate that warms up and falls along a cosine, and by resized crops.
SQUEEZE = {**SETTINGS, "schedule": "cosine", "warmup": 2, "augment": "rrc", "crop": 0.3}


def squeeze(**changes):
    """(a Training by the settings of a supervised teacher, its function from indices to a batch)."""
    plain, batch_of = training()
    settings = SupervisedSettings(**{**SQUEEZE, **changes})
    return Training(plain.network, batch_of, 20, loss_of("ce"), settings, 0, "t", False), batch_of


def test_squeezing_agrees_with_torchs_own_loop_and_schedules():
    made, batch_of = squeeze()
    plain = build("ConvNetW4D1BN", 1, 8, CLASSES, generator(0, "network"))
    optimizer = torch.optim.SGD(plain.parameters(), 0.05, 0.9, weight_decay=0.01)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=2)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [2])
    step = 0
    for epoch in range(6):
        for index in torch.randperm(20, generator=generator(0, "t", "order", epoch)).split(8):
            x, y = batch_of(index)
            x = resized_crop_flip(x, generator(0, "t", "augment", step), False, 0.3)
            optimizer.zero_grad()
            F.cross_entropy(plain(x), y).backward()
            optimizer.step()
            step += 1
        schedule.step()
    while not made.done:
        made.advance()
    for a, b in zip(made.network.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_squeezing_resumed_between_any_two_steps_gives_the_same_bits():
    def run(stops):
        made, _ = squeeze()
        while not made.done:
            if made.step in stops:
                state = made.state_dict()
                state = {**state, "network": {k: v.clone() for k, v in state["network"].items()}}
                made, _ = squeeze()
                made.load_state_dict(state)
            made.advance()
        return made.network.state_dict().values()

    assert all(torch.equal(x, y) for x, y in zip(run([]), run([1, 3, 7, 16]), strict=True))


def test_steps_of_decay_without_a_warmup_are_what_they_were():
    """A supervised teacher by steps trains to the bits of TrainSettings; its other settings have no effect."""
    made, (plain, _) = (
        squeeze(schedule="milestones", warmup=0, augment="crop_flip")[0],
        training({"augment": "crop_flip"}),
    )
    while not made.done:
        assert made.advance() == plain.advance()
    weights = made.network.state_dict().values(), plain.network.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"warmup": 6}, r"^teacher\.main\.supervised has a warmup of 6 epochs, which must end before epoch 6\.$"),
        ({"schedule": "linear"}, r"^teacher\.main\.supervised\.schedule is 'linear', but should be 'cosine' or"),
        ({"crop": 0.0}, r"^teacher\.main\.supervised\.crop is 0\.0, but should be greater than 0"),
        ({"augment": "rcc"}, "'rcc' in the augmentation 'rcc' is none of"),
    ],
)
def test_a_squeeze_that_cannot_be_is_refused(change, sentence):
    with pytest.raises(BadInput, match=sentence):
        settings_of({**POOL, "supervised": {**SQUEEZE, **change}})


def test_resized_crops_are_of_teachers_alone():
    """Elsewhere there is no setting that says how small they may be."""
    with pytest.raises(BadInput, match="'rrc' in the augmentation 'rrc' is none of"):
        validate(LabelSettings, {**SETTINGS, "loss": "ce", "augment": "rrc"}, "evaluate.whole")


POOL = {
    "source": "dataset",
    "objective": "supervised",
    "networks": ["ConvNetW4D1"],
    "count": 1,
    "seed": 0,
    "keep": ["last"],
    "precision": "fp32",
    "compile": False,
    "supervised": SETTINGS,
}


def trained_teacher(tmp_path, name="one", **changes):
    ramp_set().save(tmp_path / "real")
    settings = settings_of({**POOL, **changes}, name)
    job = objective.Job(data=tmp_path / "real", settings=settings, network="ConvNetW4D1", index=0)
    with locked_tasks([Task.of(f"teacher {name}", changes)]) as (task,):
        supervised.make(job, task, "cpu")
    return tensors.load(task.finished() / objective.RESULT)


def test_a_teacher_learns_and_keeps_the_epochs_asked_for(tmp_path):
    weights, record = trained_teacher(tmp_path, keep=[1, "last", "best", "best_test"])
    kept = {entry["name"]: entry for entry in record["kept"]}
    assert kept["1"]["epoch"] == 1 and kept["last"]["epoch"] == 6
    assert kept["last"]["accuracy"] > 60
    assert kept["best_test"]["accuracy"] >= max(entry["accuracy"] for entry in kept.values())
    assert {name.split("/")[0] for name in weights if "/" in name} == {"1", "last", "best", "best_test"}
    assert record["classes"] == ["a", "b", "c"] and record["shape"] == [1, 8] and record["space"] == "normalised"
    assert len(record["curve"]) == 6


def test_best_is_chosen_on_images_that_were_not_trained_on():
    train, held = objective.split(ramp_set())
    assert len(train) == 54 and torch.bincount(held.labels).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"keep": [7]},
        {"keep": []},
        {"networks": []},
        {"count": 0},
        {"source": "elsewhere"},
        {"keep": ["first"]},
        {"objective": "supervisd"},
        {"supervised": None},
        {"supervised": {**SETTINGS, "epochs": 0}},
        {"training": SETTINGS},
    ],
)
def test_a_pool_that_cannot_be_is_refused(change):
    with pytest.raises(BadInput, match=r"^teacher\.main"):
        settings_of({**POOL, **change})


def test_a_teacher_is_made_anew_only_for_what_changes_it(tmp_path):
    def folder(data=DATA, network="ConvNetW4D1", index=0, threads=1, pool="main", **changes):
        data.save(tmp_path / pool)
        settings = settings_of({**POOL, **changes}, pool).of_one(network)
        job = objective.Job(data=tmp_path / pool, settings=settings, network=network, index=index)
        compute = COMPUTE.model_copy(update={"threads": threads})
        (task,) = stage.tasks_of(supervised.make, {f"teacher {pool} {network} {index}": job}, compute)
        return task.folder

    one, others = (
        folder(),
        [{"imported": {"file": "f"}}, {"networks": ["x", "ConvNetW4D1"]}, {"count": 3}, {"pool": "a"}],
    )
    assert [folder(**other) for other in others] == [one] * len(others)
    for change in (
        {"seed": 1},
        {"supervised": {**SETTINGS, "lr": 0.1}},
        {"keep": [1, "last"]},
        {"precision": "bf16"},
        {"data": ramp_set(21)},
        {"network": "ConvNetW5D1"},
        {"index": 1},
        {"threads": 2},
    ):
        assert folder(**change) != one, change


def test_predictions_are_means_over_the_pool(tmp_path):
    pool, data = pool_in(tmp_path, ("ConvNetW8D2", "ConvNetW4D2")), noise_set()
    images = data.encode(data.train.images[:7])
    each = [pool.network(m)(images) for m in pool.members]
    said = predictions(pool, images, data.space, "mean", lambda x: (x / 4).softmax(1), chunk=3)
    torch.testing.assert_close(said, sum((x / 4).softmax(1) for x in each) / 2)
    torch.testing.assert_close(predictions(pool, images, data.space, "one", lambda x: x), each[0])
    raw = data.space.decode(images)
    torch.testing.assert_close(predictions(pool, raw, Space.raw(), "one", lambda x: x), each[0], atol=1e-4, rtol=1e-4)
    with pytest.raises(BadInput, match="which takes 3 channels of 8 px"):
        predictions(pool, images[:, :1], Space.raw(), "one", lambda x: x)
    assert isinstance(pool, Pool)


def test_sets_of_the_baselines():
    data = ramp_set()
    sources = [random_choice(data, 4, 0), k_means_choice(data, 4), ClassMeans(), Whole()]
    for source, count in zip(sources, (12, 12, 3, 60), strict=True):
        batch_of, found = source.images(data, "hard")
        images, labels = batch_of(torch.arange(found))
        assert found == count and images.shape[1:] == (1, 8, 8)
        assert torch.bincount(labels).tolist() == [count // 3] * 3
    means, labels = ClassMeans().images(data, "hard")[0](torch.arange(3))
    wanted = [data.encode(data.train.images[data.train.labels == c]).mean(0) for c in labels]
    torch.testing.assert_close(means, torch.stack(wanted))
    alone = torch.get_num_threads()
    torch.set_num_threads(3 if alone == 1 else 1)
    assert k_means_choice(data, 4) == sources[1]  # whatever the number of threads
    torch.set_num_threads(alone)
    draws = [random_choice(data, 4, draw) for draw in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    with pytest.raises(BadInput, match=r"fewer training images of 'a' \(20\)"):
        random_choice(data, 21, 0)


@pytest.mark.parametrize(("kind", "stored", "ndim"), [("hard", None, 1), ("hard", "soft", 1), ("soft", "soft", 2)])
def test_a_file_of_images_is_used_by_its_label_kind(tmp_path, kind, stored, ndim):
    data = ramp_set()
    targets = torch.eye(3)[[2, 1, 0]] if stored else None
    info = {**RECORD, "labels": stored or "hard"}
    images = torch.randn(3, 1, 8, 8) * 9
    DistilledSet(images, torch.arange(3), targets, data.space, info).save(tmp_path / FILE)
    batch_of, count = FromFile(tmp_path / FILE).images(data, kind)
    found, labels = batch_of(torch.arange(count))
    assert torch.equal(found, images)  # nobody clamps or rescales
    assert labels.ndim == ndim
    assert (labels if ndim == 1 else labels.argmax(1)).tolist() == ([2, 1, 0] if stored else [0, 1, 2])


COMPUTE = Compute(device="cpu", locks="auto", workers=1, threads=1, group=1, checkpoint=60.0)


def protocol(test_every=0, **changes):
    settings = LabelSettings(**{**SETTINGS, **changes}, loss="ce")
    return students.Protocol(kind="hard", settings=settings, precision="fp32", compile=False, test_every=test_every)


def test_students_are_trained_once_and_more_seeds_reuse_them(tmp_path):
    data = ramp_set()
    data.save(tmp_path / "real")

    def run(seeds):
        rows = [
            cells.Cell(set="random", draw=d, source=random_choice(data, 4, d), network="ConvNetW4D1", seed=d)
            for d in range(seeds)
        ]
        folder = tmp_path / f"out{seeds}"
        folder.mkdir()
        jobs = cells.jobs("baseline@x", rows, protocol(), tmp_path / "real", data, COMPUTE)
        with stage.finished(students.train, jobs, COMPUTE) as tasks:
            cells.write(folder, rows, tasks, data.classes, {"labels": "hard"})
        return pd.read_csv(folder / "rows.csv"), [t.finished().stat().st_mtime_ns for t in tasks]

    two, before = run(2)
    three, after = run(3)
    assert after[:2] == before and len(three) == 3
    pd.testing.assert_frame_equal(three[:2], two)
    assert (three["train_accuracy"] > 50).all() and three["loss"].map(math.isfinite).all()


class Killed(Exception):
    pass


def student_job(data, source, protocol, network="ConvNetW4D1", seed=0):
    return students.Job(data=data, source=source, network=network, seed=seed, protocol=protocol)


def student(tmp_path, monkeypatch, test_every, kills=()):
    """The record of one student; killed right after each of its checkpoints numbered ``kills``, and started again."""
    data = ramp_set()
    data.save(tmp_path / "real")
    written = []

    def checkpoint(task, state):
        save(task, state)
        written.append(state)
        if len(written) in kills:
            raise Killed

    save = Task.checkpoint
    with (
        monkeypatch.context() as patch,
        locked_tasks([Task.of("student", {"every": test_every, "kills": list(kills)}, 0.0)]) as (task,),
    ):
        patch.setattr(Task, "checkpoint", checkpoint)
        patch.setattr(Task, "due", lambda task: True)
        job = student_job(tmp_path / "real", random_choice(data, 4, 0), protocol(test_every, lr=0.5))
        for _ in kills:
            with pytest.raises(Killed):
                students.train(job, task, "cpu")
        students.train(job, task, "cpu")
    return files.load_json(task.finished() / students.RECORD), len(written)


def test_the_best_test_is_that_of_the_epochs_asked_for_and_the_last(tmp_path, monkeypatch):
    data, seen = ramp_set(), {}
    made = training({"lr": 0.5}, count=12)[0]
    images, labels = random_choice(data, 4, 0).images(data, "hard")[0](torch.arange(12))
    made.network = made.forward = build("ConvNetW4D1", 1, 8, CLASSES, generator(0, "student", "ConvNetW4D1"))
    made.optimizer = torch.optim.SGD(made.network.parameters(), 0.5, 0.9, weight_decay=0.01)
    made.batch_of, made.name = (lambda index: (images[index], labels[index])), "student/ConvNetW4D1"
    while not made.done:
        if made.advance():
            seen[made.epoch] = accuracy(made.network, data, data.test)
    assert len(set(seen.values())) > 2  # else the best could be any
    for every, epochs in ((1, range(1, 7)), (4, (4, 6)), (9, (6,))):
        record, _ = student(tmp_path, monkeypatch, every)
        assert record["best_test"] == max(seen[epoch] for epoch in epochs) >= record["accuracy"] == seen[6]
    record, _ = student(tmp_path, monkeypatch, 0)
    assert "best_test" not in record and record["accuracy"] == seen[6]


def test_a_student_killed_at_any_checkpoint_records_the_same(tmp_path, monkeypatch):
    whole, steps = student(tmp_path, monkeypatch, 2)
    assert steps == 12
    for kills in ((4,), (5,), (1, 9), (11,), (12,)):
        assert student(tmp_path, monkeypatch, 2, kills)[0] == whole


def test_the_best_test_is_a_column_only_where_it_was_asked_for(tmp_path):
    data = ramp_set()
    data.save(tmp_path / "real")
    for every in (0, 3):
        rows = [cells.Cell(set="mean", source=ClassMeans(), network="ConvNetW4D1", seed=0)]
        jobs = cells.jobs("whole", rows, protocol(every), tmp_path / "real", data, COMPUTE)
        with stage.finished(students.train, jobs, COMPUTE) as tasks:
            cells.write(tmp_path, rows, tasks, data.classes, {"labels": "hard"})
        assert ("best_test" in pd.read_csv(tmp_path / "rows.csv")) == bool(every)


def test_accuracy_by_class_finds_two_classes_that_were_swapped(tmp_path):
    """Of networks that learn every class, those taught by a set whose labels 1 and 2 are swapped fail these alone."""
    data = ramp_set()
    data.save(tmp_path / "real")
    swapped = data.train.labels[:60].clone()
    swapped[data.train.labels[:60] == 1], swapped[data.train.labels[:60] == 2] = 2, 1
    for name, labels in (("right", data.train.labels[:60]), ("swapped", swapped)):
        DistilledSet(data.encode(data.train.images[:60]), labels, None, data.space, RECORD).save(tmp_path / name)
    rows = [
        cells.Cell(set=name, source=FromFile(tmp_path / name), network="ConvNetW4D1", seed=0)
        for name in ("right", "swapped")
    ]
    jobs = cells.jobs("evaluate@x", rows, protocol(epochs=40), tmp_path / "real", data, COMPUTE)
    with stage.finished(students.train, jobs, COMPUTE) as tasks:
        cells.write(tmp_path, rows, tasks, data.classes, {"labels": "hard"})
    by_class = pd.read_csv(tmp_path / "classes.csv")
    assert by_class.columns.tolist() == ["set", "network", "seed", "class", "accuracy"]
    table = by_class.pivot(index="class", columns="set", values="accuracy")[["right", "swapped"]].loc[data.classes]
    assert (table["right"] > 60).all() and table["swapped"].iloc[0] > 60 and (table["swapped"].iloc[1:] < 40).all()
    sizes = torch.bincount(data.test.labels).tolist()
    for _, row in pd.read_csv(tmp_path / "rows.csv").iterrows():
        weighted = sum(a * n for a, n in zip(table[row["set"]], sizes, strict=True)) / sum(sizes)
        assert row["accuracy"] == pytest.approx(weighted, abs=1e-3)


@pytest.mark.parametrize("odd", ["a\nb", "a\rb", 'a"b,c', "=1+1", "\udcff"])
def test_accuracies_by_class_keep_the_names_of_classes(tmp_path, odd):
    names = ["001", odd, "NA"]
    record = {"accuracy": 2.0, "train_accuracy": 1.0, "loss": 0.5, "curve": [], "steps": 1, "gflop": 1.0}
    files.save_json(tmp_path / students.RECORD, record | {"class_accuracy": [1.0, 2.0, 3.0]})
    cell = cells.Cell(set="distilled", source=ClassMeans(), network="ConvNet", seed=0)
    cells.write(tmp_path, [cell], [SimpleNamespace(done=tmp_path)], names, {})
    with open(tmp_path / "classes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["001", odd.replace("\udcff", "?"), "NA"]
    assert [float(row["accuracy"]) for row in rows] == [1.0, 2.0, 3.0]
    assert len(pd.read_csv(tmp_path / "classes.csv")) == 3


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        (["ConvNetD2", "MLP"], ["ConvNetD2", "MLP"]),
        (["MLP", "M", "ConvNet"], ["MLP", "ConvNet", "LeNet", "AlexNet", "VGG11", "ResNet18"]),
        (["P", "D"], ["ConvNetNP", "ConvNetMP", "ConvNet", "ConvNetD1", "ConvNetD2", "ConvNetD4"]),
    ],
)
def test_a_set_of_networks_stands_for_its_words_each_once(given, expanded):
    rest = {"seeds": 1, "test_every": 0, "precision": "fp32", "compile": False}
    assert validate(EvaluateCommon, {"networks": given, **rest}, "evaluate").networks == expanded
    with pytest.raises(BadInput, match=r"evaluate\.networks .*name each network once"):
        validate(EvaluateCommon, {"networks": [*given, given[0]], **rest}, "evaluate")


def test_every_word_of_a_set_is_canonical():
    for word in (word for words in NETWORK_SETS.values() for word in words):
        assert canonical(word) == word


def test_a_student_is_made_anew_only_for_what_changes_it(tmp_path):
    images = torch.zeros(CLASSES, 1, 8, 8)

    def folder(
        protocol, data=DATA, images=images, name="distilled", network="ConvNetW4D1", seed=0, threads=1, beside=()
    ):
        data.save(tmp_path / "real")
        DistilledSet(images, torch.arange(CLASSES), None, data.space, RECORD).save(tmp_path / f"{name}.safetensors")
        source = FromFile(tmp_path / f"{name}.safetensors")
        rows = [cells.Cell(set=name, source=source, network=word, seed=n) for word, n in [(network, seed), *beside]]
        jobs = cells.jobs("evaluate@standard", rows, protocol, tmp_path / "real", data, COMPUTE)
        return stage.tasks_of(students.train, jobs, COMPUTE.model_copy(update={"threads": threads}))[0].folder

    def standard(path=(), value=None):
        values = params.load(ROOT / "params.yaml").values
        at = values["evaluate"]["standard"]
        for key in path[:-1]:
            at = at[key]
        at.update({path[-1]: value} if path else {})
        settings, kind = training_settings(Params(values), "standard", "hard")
        return students.Protocol(kind=kind, settings=settings, precision="fp32", compile=False)

    one = folder(standard())
    assert folder(standard(), beside=[("ConvNetW4D1", 1), ("MLP", 0)]) == one, "other networks, more seeds"
    assert folder(standard(("soft", "lr"), 0.123)) == one, "settings of other labels"
    assert folder(standard(), name="control") == one, "the set's name and file"
    for change in (
        {"protocol": standard(("hard", "lr"), 0.123)},
        {"protocol": replace(standard(), precision="bf16")},
        {"protocol": replace(standard(), test_every=1)},
        {"protocol": replace(standard(), lesson=ramp_set)},
        {"data": ramp_set(21)},
        {"images": images + 1},
        {"network": "ConvNetW5D1"},
        {"seed": 1},
        {"threads": 2},
    ):
        assert folder(**{"protocol": standard(), **change}) != one, change
