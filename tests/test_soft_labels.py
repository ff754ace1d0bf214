"""Labels that teachers give to batches: on the fly and stored, and training on them."""

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from distillation import checks, paths
from distillation.augment import crops
from distillation.augment.views import ViewSettings, draw, show
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.spaces import Space
from distillation.data.stored import as_read
from distillation.datasets.normalise import whitening
from distillation.evaluation import classify as students
from distillation.evaluation.lessons import LESSONS
from distillation.evaluation.sets import FromFile
from distillation.labels import kinds, storing, teacher_batches
from distillation.labels.control import control
from distillation.labels.kinds import fkd
from distillation.labels.predict import picked, teacher_logits
from distillation.labels.teacher_batches import OnlineBatches, StoredBatches
from distillation.networks.build import build
from distillation.params import Compute
from distillation.runtime import files, stage, tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from distillation.teachers.pool import FILE as TEACHERS
from distillation.teachers.pool import Pool
from distillation.training.loop import Training
from distillation.training.losses import divergence
from distillation.training.settings import LessonSettings, OnlineSettings
from stages import relabel
from tests.helpers.data import CLASSES, RECORD, SIZE, noise_set
from tests.helpers.parameters import product_params
from tests.helpers.pools import pool_in, seen_pool_in

TRAINING = {
    "loss": "kl",
    "epochs": 4,
    "optimizer": "adamw",
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup": 0,
    "horizon": None,
    "milestones": [],
    "decay": 0.1,
}
VIEW = {"augment": "rrc", "crop": 0.3, "mix": "cutmix", "alpha": 1.0}
FKD = {"pick": "one", "temperature": 4.0, "mode": "eval", "epochs": 4, "batch": 4, **VIEW}
VIEWS = [
    {**VIEW, "augment": augment, "mix": mix}
    for augment, mix in (("none", "none"), ("crop_flip", "mixup"), ("rrc", "none"), ("rrc", "cutmix"))
]


COMPUTE = Compute(device="cpu", locks="auto", workers=1, threads=1, group=1, checkpoint=60.0)


@pytest.fixture(autouse=True)
def own_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def images_of(count=10, seed=0, size=SIZE):
    return torch.randn(count, 3, size, size, generator=generator(seed, "images"))


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 40), st.floats(0.01, 1), st.integers(0, 1000))
def test_random_resized_crops_are_inside_and_as_large_as_asked(size, lowest, seed):
    boxes = crops.resized(50, size, (lowest, 1.0), generator(seed, "boxes"))
    top, left, height, width = boxes.T
    assert (boxes >= 0).all() and (top + height <= size).all() and (left + width <= size).all()
    assert (height >= 1).all() and (width >= 1).all()
    slack = size + 1  # each side is rounded to a whole pixel
    assert (height * width >= lowest * size**2 - slack).all()
    whole = (height == size) & (width == size)
    assert (((height / width) <= 4 / 3 + 4 / width) | whole).all()


def test_crops_reach_every_place_and_every_size():
    boxes = crops.resized(4000, 8, (0.08, 1.0), generator(0, "boxes"))
    area = (boxes[:, 2] * boxes[:, 3]).double() / 64
    assert 0.5 < area.mean() < 0.58 and area.min() < 0.15 and area.max() > 0.95
    assert set(boxes[boxes[:, 2] == 4][:, 0].tolist()) == set(range(5))
    moved = crops.padded(500, 32, generator(0, "boxes"))
    assert set(moved[:, 0].tolist()) == set(range(-4, 5)) and (moved[:, 2:] == 32).all()


def test_a_cut_is_a_slice_resized_and_beyond_the_image_is_0():
    images = images_of().double().requires_grad_()
    boxes = crops.resized(10, SIZE, (0.1, 1.0), generator(0, "boxes"))
    found = crops.cut(images, boxes)
    parts = [
        F.interpolate(image[None, :, t : t + h, le : le + w], (SIZE, SIZE), mode="bilinear", align_corners=False)
        for image, (t, le, h, w) in zip(images, boxes.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(parts))
    weights = torch.randn(found.shape, dtype=torch.float64, generator=generator(0, "w"))
    ours, theirs = (torch.autograd.grad((x * weights).sum(), images)[0] for x in (found, torch.cat(parts)))
    torch.testing.assert_close(ours, theirs)
    one = crops.cut(images, boxes[:1])
    torch.testing.assert_close(one, crops.cut(images, boxes[:1].repeat(10, 1)))

    boxes = crops.padded(10, SIZE, generator(0, "boxes"))
    padded = F.pad(images, [1] * 4)
    for image, found, (top, left, _, _) in zip(padded, crops.cut(images, boxes), boxes.tolist(), strict=True):
        assert torch.equal(found, image[:, top + 1 : top + 1 + SIZE, left + 1 : left + 1 + SIZE])
    assert torch.equal(crops.cut(images, crops.whole(10, SIZE)), images)


def test_mixtures_are_those_of_the_published_formulas():
    images = images_of()
    view = draw(10, SIZE, ViewSettings(**{**VIEW, "augment": "none", "mix": "mixup"}), True, generator(0, "v"))
    weight = view.weight.item()
    assert 0 < weight < 1 and not view.mirror.any()
    torch.testing.assert_close(show(images, view), weight * images + (1 - weight) * images[view.partners])

    view = draw(10, SIZE, ViewSettings(**{**VIEW, "augment": "none"}), True, generator(0, "v"))
    top, left, bottom, right = view.window.tolist()
    wanted = images.clone()
    wanted[:, :, top:bottom, left:right] = images[view.partners][:, :, top:bottom, left:right]
    assert view.weight == 1 and (bottom - top) * (right - left) > 0
    assert torch.equal(show(images, view), wanted)

    view = draw(10, SIZE, ViewSettings(**{**VIEW, "augment": "crop_flip", "mix": "none"}), True, generator(0, "v"))
    moved = crops.cut(images, view.boxes)
    wanted = torch.stack([m.flip(2) if flip else m for m, flip in zip(moved, view.mirror, strict=True)])
    assert torch.equal(show(images, view), wanted) and 0 < view.mirror.sum() < 10
    assert not draw(10, SIZE, ViewSettings(**VIEW), False, generator(0, "v")).mirror.any()


def test_shares_are_drawn_from_the_beta_distribution():
    weights = torch.stack(
        [
            draw(1, SIZE, ViewSettings(**{**VIEW, "mix": "mixup", "alpha": 0.8}), True, generator(0, "v", i)).weight
            for i in range(800)
        ]
    )
    assert float(weights.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(weights.var()) == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.01)  # of Beta(a, a)


@pytest.mark.parametrize(("name", "scale"), [("kl", 1), ("kl_t2", 900)])
def test_the_divergence_is_the_mean_over_the_batch_of_the_softened_one(name, scale):
    s, t = (torch.randn(5, 7, dtype=torch.float64, generator=generator(0, n)) * 9 for n in "st")
    p, q = (t / 30).softmax(1), (s / 30).softmax(1)
    wanted = scale * (p * (p.log() - q.log())).sum() / 5
    torch.testing.assert_close(divergence(name, 30.0)(s, t), wanted)
    assert torch.autograd.gradcheck(lambda x: divergence(name, 30.0)(x, t), s.requires_grad_())


def lesson_of(pool, images, view=VIEW, mode="eval", batch=4, seed=0, name="fkd"):
    answer = teacher_logits(pool, noise_set().space, "one", mode)
    return OnlineBatches(images, noise_set().space, answer, ViewSettings(**view), batch, True, seed, name)


def student(lesson, word="ConvNetW4D1BN", temperature=4.0, seed=0, **changes):
    network = build(word, 3, SIZE, CLASSES, generator(seed, "student"))
    loss = divergence("kl", temperature)
    how = LessonSettings(**{**TRAINING, **changes})
    return Training(network, None, lesson.count, loss, how, seed, "s", True, lesson=lesson)


def trained(made):
    losses = []
    while not made.done:
        losses += [made.advance() or ()]
    return made.network.state_dict(), [each for each in losses if each]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def storing_jobs(pool, images, epochs, view=VIEW, pixels="float"):
    """The jobs that store labels of images, which are saved for them."""
    labels = torch.zeros(len(images), dtype=torch.int64)
    DistilledSet(images, labels, None, noise_set().space, RECORD).save(paths.DISTILLED / FILE)
    return fkd.jobs(fkd.Settings(**{**FKD, **view, "epochs": epochs}), pool.folder, True, False, pixels)


def store(pool, images, epochs, view=VIEW):
    """The stored labels of images, from the tasks of the stage, and how many tasks were missing."""
    jobs, missing = storing_jobs(pool, images, epochs, view), []
    before = lambda new: missing.extend(new) or contextlib.nullcontext()  # noqa: E731
    with stage.finished(storing.store, jobs, COMPUTE, before=before) as tasks:
        return storing.stored(dict(zip(jobs, tasks, strict=True)), FILE), len(missing)


def saved(path, content, epochs=4, batch=4):
    tensors.save(path, content, {"epochs": epochs, "batch": batch})
    return path


@pytest.mark.parametrize("view", VIEWS)
def test_stored_labels_train_as_the_teacher_itself_does(tmp_path, monkeypatch, view):
    """In full precision bit for bit; as stored, in half precision, to rounding."""
    pool, images = seen_pool_in(tmp_path / "pool"), images_of()
    online = lesson_of(pool, images, view)

    def replayed(dtype, **how):
        monkeypatch.setattr(teacher_batches, "STORED", dtype)
        monkeypatch.setenv("DVC_ROOT", str(tmp_path / str(dtype)))
        content, _ = store(pool, images, 4, view)
        assert content["0/logits"].dtype == dtype
        return trained(
            student(StoredBatches(images, noise_set().space, saved(tmp_path / f"{dtype}.st", content), 4), **how)
        )

    (wanted, losses), (found, again) = trained(student(online)), replayed(torch.float32)
    assert same(wanted, found) and losses == again
    plain = {"optimizer": "sgd", "lr": 0.5, "word": "ConvNetW4D1NN"}
    (wanted, _), (found, _) = trained(student(online, **plain)), replayed(torch.float16, **plain)
    for name, before in build(plain["word"], 3, SIZE, CLASSES, generator(0, "student")).state_dict().items():
        moved = float((wanted[name] - before).norm())
        assert moved > 0 and float((wanted[name] - found[name]).norm()) < 0.01 * moved


@pytest.mark.parametrize("space", [noise_set().space, Space.raw(), whitening(noise_set().train.images)])
def test_beside_a_cropped_image_both_see_black_as_published(tmp_path, space):
    """As if raw images were padded and then normalised; whitened ones have no black, and are padded with 0."""
    raw, asked = torch.rand(10, 3, SIZE, SIZE, generator=generator(0, "raw")) / 2 + 0.25, []
    how = ViewSettings(**{**VIEW, "augment": "crop_flip", "mix": "none"})
    online = OnlineBatches(space.encode(raw), space, lambda x: asked.append(x) or x.flatten(1), how, 10, True, 0, "fkd")
    (index, view), (seen, _) = online.drawn(0, 0), online(0, 0)
    whitened = space.kind == "whitened"
    wanted = show(space.encode(raw)[index], view) if whitened else space.encode(show(raw[index], view))
    torch.testing.assert_close(seen, wanted)
    assert (show(raw[index], view) == 0).any() and torch.equal(asked[0], seen)
    content = {f"0/{name}": value for name, value in teacher_batches.packed(index, view, seen.flatten(1)).items()}
    assert torch.equal(StoredBatches(online.images, space, saved(tmp_path / "a.st", content, 1, 10), 1)(0, 0)[0], seen)


def test_what_is_stored_is_what_made_each_batch(tmp_path):
    pool, images = seen_pool_in(tmp_path), images_of()
    online = lesson_of(pool, images)
    content, _ = store(pool, images, 2)
    shapes = {name: tuple(content[f"1/{name}"].shape) for name in teacher_batches.NAMES}
    assert shapes == {
        "order": (10,),
        "boxes": (10, 4),
        "mirror": (10,),
        "partners": (10,),
        "logits": (10, CLASSES),
        "weight": (3,),
        "window": (3, 4),
    }
    assert sorted(content["1/order"].tolist()) == list(range(10))
    index, view = online.drawn(1, 2)
    assert torch.equal(content["1/order"][8:], index.int()) and torch.equal(content["1/window"][2], view.window.short())
    logits = pool.network(pool.members[0])(show(images[index], view))
    assert torch.equal(content["1/logits"][8:], logits.half())


def test_stored_labels_are_the_same_whenever_the_work_stops(tmp_path, monkeypatch):
    pool, images = seen_pool_in(tmp_path / "pool"), images_of()
    whole, _ = store(pool, images, 2)

    class Killed(Exception):
        pass

    stops = [0]

    def dying(*given):
        def answer(seen):
            stops[0] += 1
            if stops[0] % 2 == 0:
                raise Killed
            return teacher_logits(*given)(seen)

        return answer

    monkeypatch.setattr(storing, "teacher_logits", dying)
    monkeypatch.setattr(Task, "due", lambda task: True)
    ((label, job),) = storing_jobs(pool, images, 2).items()
    task = Task.of("killed", {})
    for _ in range(20):
        try:
            storing.store(job, task, "cpu")
            break
        except Killed:
            pass
    found = storing.stored({label: task}, FILE)
    assert stops[0] == 11  # six batches, and five deaths
    assert same(whole, found) and whole.keys() == found.keys()


def test_more_epochs_reuse_those_that_are_stored(tmp_path):
    pool, images = seen_pool_in(tmp_path / "pool"), images_of(4)
    ten, fresh = store(pool, images, 10)
    twelve, more = store(pool, images, 12)
    assert (fresh, more) == (1, 1)
    assert all(torch.equal(twelve[name], ten[name]) for name in ten) and len(twelve) == 12 * len(teacher_batches.NAMES)


def test_labels_are_stored_anew_for_what_changes_them(tmp_path):
    pool, images = seen_pool_in(tmp_path / "pool"), images_of(4)

    def folders(images=images, epochs=10, pixels="float", **view):
        jobs = storing_jobs(pool, images, epochs, view, pixels)
        return [task.folder for task in stage.tasks_of(storing.store, jobs, COMPUTE)]

    one = folders()
    assert folders(epochs=20)[0] == folders(temperature=9.0)[0] == one[0], "further epochs, and how students use them"
    for change in (
        {"crop": 0.5},
        {"mix": "none"},
        {"mode": "train"},
        {"batch": 3},
        {"images": images + 1},
        {"pixels": "png"},
        {"epochs": 9},
    ):
        assert folders(**change)[0] != one[0], change
    seen_pool_in(tmp_path / "pool", "ConvNetW5D2BN")
    assert folders() != one


def test_fewer_epochs_than_training_asks_for_are_refused(tmp_path):
    content, _ = store(seen_pool_in(tmp_path / "pool"), images_of(), 2)
    path = saved(tmp_path / "labels.st", content, epochs=2)
    with pytest.raises(BadInput, match=r"epochs is 3, but labels are stored for 2 \(relabel\.fkd\.epochs\)"):
        StoredBatches(images_of(), noise_set().space, path, 3)
    change = {"relabel.kind": "fkd", "relabel.fkd.epochs": 100}
    with pytest.raises(BadInput, match=r"standard\.fkd\.epochs is 300, but relabel\.fkd\.epochs stores labels for 100"):
        checks.check_all(product_params(change))
    checks.check_all(product_params({**change, "evaluate.standard.fkd.epochs": 100}))
    checks.check_all(product_params({**change, "evaluate.protocols": ["common"]}))


@pytest.mark.parametrize("kind", ["online", "fkd"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_stopped_at_every_step_gives_the_same_bits(tmp_path, kind, optimizer):
    pool, images = seen_pool_in(tmp_path / "pool"), images_of()
    task = Task("x", tmp_path / "task", {}, 0.0)
    path = saved(tmp_path / "labels.st", store(pool, images, 4)[0])

    def fresh():
        lesson = lesson_of(pool, images) if kind == "online" else StoredBatches(images, noise_set().space, path, 4)
        return student(lesson, optimizer=optimizer, warmup=1)

    wanted, losses = trained(fresh())
    made, seen = fresh(), []
    task.start()
    while not made.done:
        seen += [made.advance() or ()]
        task.checkpoint(made.state_dict())
        made = fresh()
        made.load_state_dict(task.start())
    assert same(wanted, made.network.state_dict()) and [each for each in seen if each] == losses


def test_training_agrees_with_torchs_own_loop_and_schedules(tmp_path):
    """AdamW under a warm-up and a cosine, which torch's schedulers give after every epoch."""
    pool, images = seen_pool_in(tmp_path), images_of()
    lesson = lesson_of(pool, images)
    word = "ConvNetW4D1NN"  # before a norm a bias has no gradient but rounding, which AdamW makes large
    plain = build(word, 3, SIZE, CLASSES, generator(0, "student"))
    optimizer = torch.optim.AdamW(plain.parameters(), 0.01, weight_decay=0.01)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=2)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [2])
    for epoch in range(6):
        for place in range(3):
            seen, logits = lesson(epoch, place)
            loss = F.kl_div((plain(seen) / 4).log_softmax(1), (logits / 4).softmax(1), reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    found, _ = trained(student(lesson, word, epochs=6, warmup=2))
    for a, b in zip(found.values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_learning_rates_follow_their_schedule():
    def factors(**changes):
        how = LessonSettings(**{**TRAINING, "epochs": 200, **changes})
        return [how.factor(epoch) for epoch in range(200)]

    cosine = factors()
    assert cosine[0] == 1 and cosine[100] == pytest.approx(0.5) and cosine[199] < 1e-3
    assert factors(horizon=600)[199] == pytest.approx(0.75, abs=0.01)  # as the code of SC-DD has it
    assert factors(horizon=50)[50:] == [0] * 150
    stepped = factors(schedule="milestones", milestones=[0.5, 180], warmup=5)
    assert stepped[0] == 0.01 and stepped[5] == 1 and stepped[100] == 0.1 and stepped[180] == pytest.approx(0.01)
    with pytest.raises(ValueError, match="must end before epoch 5"):
        factors(epochs=5, warmup=5)


def test_a_teacher_in_train_mode_uses_the_statistics_of_the_batch_and_keeps_its_own(tmp_path):
    pool, images = seen_pool_in(tmp_path), images_of()
    network = pool.network(pool.members[0])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    said = {mode: teacher_logits(pool, noise_set().space, "one", mode) for mode in ("train", "eval")}
    plain = build(pool.members[0].word, *pool.shape, generator(0, "any"))
    plain.load_state_dict(before)
    for part in (images[:6], images[6:]):
        plain.load_state_dict(before)
        torch.testing.assert_close(said["train"](part), plain.train()(part))
        torch.testing.assert_close(said["eval"](part), plain.load_state_dict(before) and plain.eval()(part))
    assert same(network.state_dict(), before) and not any(m.training for m in network.modules())


def test_answers_are_means_of_logits_in_the_pools_own_space(tmp_path):
    pool = pool_in(tmp_path, ("ConvNetW8D2", "ConvNetW4D2"), space=Space.raw())
    space, images = noise_set().space, images_of()
    each = [pool.network(member)(space.decode(images)) for member in pool.members]
    torch.testing.assert_close(teacher_logits(pool, space, "mean", "eval")(images), sum(each) / 2)
    torch.testing.assert_close(teacher_logits(pool, space, "one", "eval")(images), each[0])


def test_a_pool_can_be_cut_down_to_some_of_its_members(tmp_path):
    pool = pool_in(tmp_path / "pool", ("ConvNetW8D2", "ConvNetW4D2"))
    content, info = pool.part(picked(pool, "one"))
    tensors.save(tmp_path / "part" / TEACHERS, content, info)
    part = Pool(tmp_path / "part")
    assert [member.word for member in part.members] == ["ConvNetW8D2"] and part.space.same(pool.space)
    assert not any(name.startswith("ConvNetW4D2") for name in content)
    images = images_of()
    assert torch.equal(part.network(part.members[0])(images), pool.network(pool.members[0])(images))


def relabelled(tmp_path, monkeypatch, kind, control=True, pixels="float", **changes):
    """The stage relabel on a small distilled set, without DVC; returns the folder of its out."""
    monkeypatch.chdir(tmp_path)
    data = noise_set()
    data.save(paths.DATASET)
    seen_pool_in(tmp_path / paths.POOLS / "main")
    images = data.encode(data.train.images[:6])
    info = {"labels": "hard", "feed": "stored", "method": "scdd", "ipc": 2, "seed": 0, "classes": data.classes}
    labels = data.train.labels[:6]
    DistilledSet(images, labels, None, data.space, {**info, "dataset": "noise"}).save(paths.DISTILLED / FILE)
    values = {
        "relabel": {
            "kind": kind,
            "teacher": "main",
            "control": control,
            "pixels": pixels,
            "keep": {},
            "features": {},
            "hard": {"pick": "one"},
            "logits": {"pick": "one"},
            "probs": {"pick": "one", "temperature": 4.0},
            "online": {"pick": "one", "temperature": 4.0, "mode": "eval", **changes},
            "fkd": {**FKD, **changes},
        },
        "compute": COMPUTE.model_dump(),
    }
    monkeypatch.setattr(relabel.process, "begin", lambda: None)
    monkeypatch.setattr(relabel.parameters, "load", lambda: relabel.parameters.Params(values))
    relabel.run()
    return tmp_path / paths.RELABELED


def job_of(path, kind, word="ConvNetW4D1BN"):
    how = {**TRAINING, **({"batch": 4, **VIEW} if kind == "online" else {})}
    settings = (OnlineSettings if kind == "online" else LessonSettings)(**how)
    protocol = students.Protocol(kind=kind, settings=settings, precision="fp32", compile=False, lesson=LESSONS[kind])
    source = FromFile(path, teacher_batches.labels_of(path, kind))
    data = path.parents[1] / "real/dataset"
    return students.Job(data=data, source=source, network=word, seed=3, protocol=protocol)


@pytest.mark.parametrize("kind", ["online", "fkd"])
def test_relabelled_sets_and_their_controls_teach_students(tmp_path, monkeypatch, kind):
    out = relabelled(tmp_path, monkeypatch, kind)
    pool = Pool(paths.POOLS / "main")
    assert files.load_json(out / "info.json")["bytes"]["images"] == 6 * 3 * SIZE**2 * 4
    for name in (FILE, "control.safetensors"):
        made = DistilledSet.load(out / name)
        assert made.kind == kind and made.targets is None and made.labels.tolist().count(0) == 2
        assert made.info["teacher"]["pool"] == "main"
        if kind == "fkd":
            logits = 4 * 6 * CLASSES * 2
            draws = 4 * (6 * (4 + 4 * 2 + 1 + 4) + 2 * (4 + 4 * 2))
            assert made.bytes["labels"] == logits + draws == files.load_json(out / "info.json")["bytes"]["labels"]
        else:
            weights = sum(value.numel() for value in pool.network(pool.members[0]).parameters())
            assert made.bytes["labels"] > 4 * weights
        job = job_of(out / name, kind)
        with stage.finished(students.train, {"student": job}, COMPUTE) as (task,):
            record = files.load_json(task.finished() / students.RECORD)
        assert 0 <= record["accuracy"] <= 100 and math.isfinite(record["loss"]) and record["steps"] == 8
        lesson, temperature = LESSONS[kind](job, "cpu", True)
        seen, logits = lesson(2, 1)
        assert temperature == 4.0
        wanted = teacher_logits(pool, made.space, "one", "eval")(seen)
        torch.testing.assert_close(logits, wanted, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("kind", kinds.names())
def test_teachers_and_students_see_the_images_that_are_read_from_jpegs(tmp_path, monkeypatch, kind):
    out, pool = relabelled(tmp_path, monkeypatch, kind, pixels="jpeg"), Pool(paths.POOLS / "main")
    before, data = DistilledSet.load(paths.DISTILLED / FILE), noise_set()
    sets = {FILE: before} if kind == "keep" else {FILE: before, "control.safetensors": control(before, data)}
    for name, plain in sets.items():
        made, wanted = DistilledSet.load(out / name), as_read(plain, "jpeg")
        assert torch.equal(made.images, wanted.images) and not torch.allclose(made.images, plain.images, atol=0.1)
        assert made.pixels == "jpeg" and made.bytes["images"] == wanted.info["image_bytes"]
        network = pool.network(pool.members[0])
        logits = network(made.images)
        if kind == "hard":
            assert torch.equal(made.labels, logits.argmax(1))
        elif kind in ("online", "fkd"):
            seen, answers = LESSONS[kind](job_of(out / name, kind), "cpu", True)[0](2, 1)
            torch.testing.assert_close(answers, network(seen), atol=2e-3, rtol=2e-3)
        elif kind != "keep":
            targets = {"logits": logits, "probs": (logits / 4).softmax(1), "features": network.embed(made.images)}
            torch.testing.assert_close(made.targets, targets[kind])
    record = files.load_json(out / "info.json")
    assert record["pixels"] == "jpeg" and record["bytes"]["images"] == DistilledSet.load(out / FILE).bytes["images"]
    assert (out / "control.safetensors").exists() == (kind != "keep")


@pytest.mark.parametrize("kind", ["online", "fkd"])
def test_a_student_is_made_anew_where_the_labels_beside_its_set_change(tmp_path, monkeypatch, kind):
    job = job_of(relabelled(tmp_path, monkeypatch, kind) / FILE, kind)

    def folder():
        return stage.tasks_of(students.train, {"student": job}, COMPUTE)[0].folder

    before, (content, info) = folder(), tensors.load(job.source.labels)
    first = next(iter(content))
    tensors.save(job.source.labels, {**content, first: content[first] + 1}, info)
    assert folder() != before


def test_stored_and_live_labels_differ_between_the_set_and_its_control(tmp_path, monkeypatch):
    """The same draws, other images: a pair that differs in the images alone."""
    out = relabelled(tmp_path, monkeypatch, "fkd")
    ours, control = (
        tensors.load(teacher_batches.labels_of(out / name, "fkd"))[0] for name in (FILE, "control.safetensors")
    )
    assert all(torch.equal(ours[name], control[name]) for name in ours if not name.endswith("logits"))
    assert not torch.equal(ours["0/logits"], control["0/logits"])
    (tmp_path / "alone").mkdir()
    assert not (relabelled(tmp_path / "alone", monkeypatch, "fkd", control=False) / "control.safetensors").exists()


def test_kinds_that_cannot_be_are_refused():
    for change, words in [
        ({"relabel.online.mode": "test"}, "relabel.online.mode is 'test', but should be 'eval' or 'train'"),
        ({"relabel.pixels": "jpg"}, "relabel.pixels is 'jpg', but should be 'float', 'png' or 'jpeg'"),
        ({"relabel.fkd.mix": "blend"}, "relabel.fkd.mix is 'blend'"),
        ({"relabel.fkd.crop": 0.0}, "relabel.fkd.crop is 0.0, but should be greater than 0"),
        ({"evaluate.standard.online.optimizer": "adam"}, "evaluate.standard.online.optimizer is 'adam'"),
        ({"evaluate.standard.fkd.loss": "ce"}, "evaluate.standard.fkd.loss is 'ce'"),
        ({"evaluate.standard.online.warmup": 200}, "a warmup of 200 epochs, which must end before epoch 200"),
    ]:
        with pytest.raises(BadInput, match=words):
            checks.check_all(product_params(change))
