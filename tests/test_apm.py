"""APM against the published loop written plainly in float64, sparse momentum against the dense one, and its shards."""

import itertools
import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from distillation import checks
from distillation import params as parameters
from distillation.augment.siamese import augment_batch
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.spaces import Space
from distillation.methods.apm import Settings, SparseSGD
from distillation.methods.driver import updates
from distillation.methods.guidance import Guidance
from distillation.networks.build import build
from distillation.params import Params, validate
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task
from stages import distill
from tests.helpers.clones import ROOT
from tests.helpers.data import CLASSES, IPC, SIZE, noise_set
from tests.helpers.methods import COMMON, SETTINGS, method_of
from tests.helpers.pools import pool_in

COUNT = CLASSES * IPC
PLAIN = SETTINGS["apm"]
WORDS = ("ConvNetW8D2", "ConvNetW4D2")


def whitened():
    """A whitened space of the right size that is not the identity."""
    size = 3 * SIZE * SIZE
    matrix = torch.eye(size) + 0.02 * torch.randn(size, size, generator=generator(0, "matrix"))
    matrix = (matrix + matrix.T) / 2
    return Space("whitened", {"mean": torch.full((size,), 0.5), "matrix": matrix, "inverse": torch.linalg.inv(matrix)})


def apm(folder, data=None, pool=None, shard=0, common=None, **changed):
    data = data or noise_set()
    pool = pool or pool_in(folder, WORDS, data.space)
    return method_of("apm", pool, data, changed, shard, **(common or {}))


def finish(method):
    for _ in updates(method):
        pass
    return method.result()


class Published:
    """The official loop, line by line: dense momentum, the teacher passed anew for every snapshot, all in float64."""

    def __init__(self, method):
        self.problem, self.settings = method.problem, method.settings
        self.images = self.problem.initial_images().double().requires_grad_()
        self.labels = self.problem.labels()
        self.optimizer = torch.optim.SGD([self.images], self.settings.lr_img, self.settings.momentum)
        drop = [self.settings.iterations // 2]
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, drop, self.settings.decay)

    def update(self, it):
        size = self.settings.batch_syn or COUNT
        index = torch.randperm(COUNT, generator=self.problem.draws("batch", it))[:size]
        if it % self.settings.refresh == 0:
            member = self.problem.teachers.draw(self.problem.draws("teacher", it))
            self.teacher = build(member.word, 3, SIZE, CLASSES, generator(1, "teacher", member.word, "last")).double()
            self.train(self.images.detach()[index], it)
        self.optimizer.zero_grad()
        self.loss = self.objective(self.images[index], self.labels[index])
        self.loss.backward()
        self.optimizer.step()
        self.schedule.step()

    def objective(self, images, labels):
        """L(u) = - sum_k mean |s_k(u) - t(u)| + ce · CE(t(u), y)."""
        loss = self.settings.ce * F.cross_entropy(self.teacher(images), labels)
        for student in self.snapshots:
            loss = loss - (student(images) - self.teacher(images)).abs().mean()
        return loss

    def train(self, images, it):
        s, seed, name = self.settings, self.problem.settings.seed, f"{self.problem.name}/student/{it}"
        student = build(self.problem.settings.network, 3, SIZE, CLASSES, self.problem.draws("student", it)).double()
        answers = self.teacher(images).detach()
        optimizer = torch.optim.SGD(student.parameters(), s.lr_net, s.momentum_net, weight_decay=s.weight_decay)
        self.snapshots, step = [], 0
        for epoch in range(s.epochs):
            if epoch == s.epochs // 2:
                optimizer.param_groups[0]["lr"] *= s.decay_net
            order = torch.randperm(len(images), generator=generator(seed, name, "order", epoch))
            for part in order.split(s.batch_net):
                seen = augment_batch(images[part], self.problem.strategy, generator(seed, name, "augment", step))
                said, wanted = student(seen), answers[part]
                loss = (said - wanted).abs().mean()
                if s.loss == "ce":
                    loss = -(wanted.softmax(1) * said.log_softmax(1)).sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
            if (epoch + 1) % (s.epochs // s.snapshots) == 0:
                kept = build(self.problem.settings.network, 3, SIZE, CLASSES, generator(0, "replaced")).double()
                kept.load_state_dict(student.state_dict())
                self.snapshots.append(kept)


CASES = {
    "as published": {},
    "batches": {"batch_syn": 4, "iterations": 6},
    "cross-entropy": {"loss": "ce"},
    "one snapshot": {"snapshots": 1, "epochs": 3, "refresh": 1},
    "no momentum": {"momentum": 0.0, "batch_syn": 5},
    "whitened": {"batch_syn": 5},
}


@pytest.mark.parametrize("case", CASES)
def test_apm_agrees_with_the_published_loop_in_float64(tmp_path, case):
    method = apm(tmp_path, noise_set(space=whitened() if case == "whitened" else None), **CASES[case])
    published = Published(method)
    for it in range(method.settings.iterations):
        while not (step := method.advance()).image_grad_ready:
            pass
        method.apply()
        published.update(it)
        for ours, theirs in zip(method.snapshots, published.snapshots, strict=True):
            for name, value in theirs.state_dict().items():
                torch.testing.assert_close(ours[name].double(), value, rtol=1e-3, atol=1e-5)
        assert float(step.metrics["loss"]) == pytest.approx(published.loss.item(), rel=1e-3, abs=1e-5)
    moved = (published.images - method.problem.initial_images()).abs().max().item()
    made = method.result().images.double()
    assert method.at == method.total
    torch.testing.assert_close(made, published.images.detach(), rtol=0, atol=2e-3 * moved)


def test_the_image_gradient_agrees_with_finite_differences(tmp_path):
    method = apm(tmp_path, ce=2.0)
    while not method.advance().image_grad_ready:
        pass
    published = Published(method)
    published.update(0)
    u = method.images.detach().double()
    with torch.no_grad():
        for i in range(8):
            d = torch.randn(u.shape, dtype=u.dtype, generator=generator(0, "direction", i))
            ahead, behind = (published.objective(u + e * d, method.labels) for e in (1e-6, -1e-6))
            wanted = float(ahead - behind) / 2e-6
            assert float((method.images.grad * d).sum()) == pytest.approx(wanted, rel=1e-3, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(
    momentum=st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    milestones=st.lists(st.integers(1, 30), max_size=3, unique=True),
    batches=st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=30),
    gap=st.integers(0, 40),
)
def test_sparse_momentum_equals_the_dense_one(momentum, milestones, batches, gap):
    """float64: an image that is drawn again after any number of steps is where zero gradients would have left it."""
    draws = generator(0, "sparse")
    start = torch.randn(6, 1, 2, 2, dtype=torch.float64, generator=draws)
    sparse = SparseSGD(start.clone(), 0.7, momentum, milestones, 0.3)
    dense = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([dense], 0.7, momentum)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.3)
    for batch in [*batches, *[{5}] * gap]:
        index = torch.tensor(sorted(batch))
        torch.testing.assert_close(sparse.drawn(index), dense.detach()[index], rtol=1e-12, atol=1e-13)
        dense.grad = torch.zeros_like(dense)
        dense.grad[index] = torch.randn(len(index), 1, 2, 2, dtype=torch.float64, generator=draws)
        sparse.step(index, dense.grad[index])
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(sparse.drawn(torch.arange(6)), dense.detach(), rtol=1e-12, atol=1e-13)
    if momentum:
        buffer = optimizer.state[dense]["momentum_buffer"]
        torch.testing.assert_close(sparse.velocity, buffer, rtol=1e-12, atol=1e-13)


def test_how_many_images_pass_together_changes_rounding_only(tmp_path):
    gradients = []
    for update_syn, chunk in ((2, 5), (3, 5), (1, 5), (None, 4), (None, 1000)):
        method = apm(tmp_path, update_syn=update_syn, common={"chunk": chunk})
        while not method.advance().image_grad_ready:
            pass
        gradients.append(method.images.grad)
        assert method.at == 6 + -(-COUNT // (update_syn or chunk))  # 3 epochs of 2 steps, then the parts
    for other in gradients[:-1]:
        torch.testing.assert_close(other, gradients[-1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", ["ConvNetW4D2", "ConvNetW4D2BN"])
def test_resumed_after_every_unit_it_gives_the_same_bits(tmp_path, network):
    changed = {"batch_syn": 4, "update_syn": 3, "common": {"network": network}}
    pool = pool_in(tmp_path, WORDS)
    whole, task = finish(apm(tmp_path, pool=pool, **changed)), Task("apm", tmp_path / "apm-0123456", {}, 0.0)
    method = apm(tmp_path, pool=pool, **changed)
    while method.at < method.total:
        next(updates(method))
        task.start()
        task.checkpoint(method.state_dict())
        method = apm(tmp_path, pool=pool, **changed)
        method.load_state_dict(task.start())
        torch.rand(1)  # whatever others draw does not matter
    assert torch.equal(method.result().images, whole.images)


def test_guidance_joins_the_gradient_of_the_drawn_images(tmp_path):
    method = apm(tmp_path, pool=(pool := pool_in(tmp_path)), batch_syn=4, common={"alpha": 10.0})
    while not method.advance().image_grad_ready:
        pass
    own = method.images.grad.clone()
    Guidance(method.problem, pool).add_gradient(method, 0)
    images = method.images.detach().requires_grad_()
    F.cross_entropy(pool.network(pool.members[0])(images), method.labels).backward()
    torch.testing.assert_close(method.images.grad - own, 10 * images.grad, rtol=1e-3, atol=1e-5)
    before = method.sgd.images.clone()
    method.apply()
    assert int((method.sgd.images != before).flatten(1).any(1).sum()) == 4


def test_a_new_student_and_teacher_come_every_refresh_updates(tmp_path):
    method = apm(tmp_path, iterations=7, refresh=3)
    seen = []
    for unit in updates(method):
        if unit.updated:
            seen.append((id(method.snapshots), method.snapshots[0]["classifier.weight"].clone()))
    same = [torch.equal(a[1], b[1]) for a, b in itertools.pairwise(seen)]
    assert same == [True, True, False, True, True, False]
    words = {method.problem.teachers.draw(method.problem.draws("teacher", it)).word for it in range(0, 60, 3)}
    assert words == set(WORDS)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a dataset and a pool, in which the driver runs; a function that runs it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    data = noise_set()
    data.save("data/real/dataset")
    (tmp_path / "models/teachers/main").mkdir(parents=True)
    pool_in(tmp_path / "models/teachers/main", WORDS)
    monkeypatch.setattr(distill.process, "begin", lambda: None)

    def run(workers=1, **changed):
        common = {**COMMON, "name": "apm", "ipc": changed.pop("ipc", 2)}
        compute = {"threads": 1, "group": 1, "device": "cpu", "locks": "auto", "workers": workers, "checkpoint": 60.0}
        values = {"method": {**common, "apm": {**PLAIN, **changed}}, "compute": compute}
        monkeypatch.setattr(distill.parameters, "load", lambda: Params(values))
        distill.run()
        return {file.name: file.read_bytes() for file in (tmp_path / "data/distilled").iterdir()}

    return run


def finished(folder):
    return {file.parent.parent.name: file.stat().st_mtime_ns for file in folder.rglob("done/cost.json")}


def test_shards_are_the_runs_they_stand_for_in_any_number_of_processes(workplace, tmp_path):
    one = workplace(shards=2)
    solo = [finish(apm(tmp_path, shard=shard, common={"ipc": 1})) for shard in range(2)]
    made = DistilledSet.load(f"data/distilled/{FILE}")
    assert torch.equal(made.labels, torch.arange(CLASSES).repeat_interleave(2)) and made.info["ipc"] == 2
    for shard in range(2):
        assert torch.equal(made.images[shard::2], solo[shard].images)
    assert not torch.equal(solo[0].images, solo[1].images)

    before = finished(tmp_path / ".dvc/tmp/work")
    shutil.rmtree(tmp_path / ".dvc/tmp/work")
    assert workplace(workers=2, shards=2) == one
    assert len(before) == 2 and finished(tmp_path / ".dvc/tmp/work").keys() == before.keys()


def test_more_shards_copy_what_is_done_and_the_first_is_the_plain_run(workplace, tmp_path):
    plain = workplace(ipc=1)
    before = finished(tmp_path / ".dvc/tmp/work")
    workplace(ipc=3, shards=3)
    after = finished(tmp_path / ".dvc/tmp/work")
    assert len(after) == 3 and before.items() <= after.items()
    first = DistilledSet.load(f"data/distilled/{FILE}").images[::3]
    workplace(ipc=1)
    assert torch.equal(first, DistilledSet.load(f"data/distilled/{FILE}").images)
    assert plain == {file.name: file.read_bytes() for file in (tmp_path / "data/distilled").iterdir()}


def test_what_shards_report_is_added_up_and_averaged(workplace):
    cost = json.loads(workplace(ipc=1)["info.json"])["cost"]
    three = workplace(ipc=3, shards=3)
    assert json.loads(three["info.json"])["cost"] == {key: pytest.approx(3 * value) for key, value in cost.items()}
    rows = three["curve.csv"].decode().splitlines()
    assert rows[0] == "iteration,loss,discrepancy,ce,student" and len(rows) == 1 + PLAIN["iterations"]


def test_teachers_whose_logits_would_mean_nothing_are_refused(tmp_path):
    with pytest.raises(BadInput, match="has no logits for the classes of the dataset"):
        apm(tmp_path, pool=pool_in(tmp_path, classes=("x", "y", "z")))
    with pytest.raises(BadInput, match="takes whitened images of 8 px, but the dataset has normalised images of 8 px"):
        apm(tmp_path, pool=pool_in(tmp_path, space=whitened()))
    with pytest.raises(BadInput, match="images of 16 px"):
        apm(tmp_path, pool=pool_in(tmp_path, size=16))


def test_more_images_in_an_update_than_there_are_are_refused(tmp_path):
    with pytest.raises(BadInput, match="batch_syn is 7, but there are only 6 images"):
        apm(tmp_path, batch_syn=7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 10, "snapshots": 3}, "method.apm takes 3 snapshots equally far apart, but .* not divide 10 epochs"),
        ({"mid_gap": 2}, r"method.apm has no mid_gap but refresh, which is the published mid_gap \+ 1"),
        ({"loss": "l2"}, "method.apm.loss is 'l2', but"),
        ({"momentum": 1.0}, "method.apm.momentum is 1.0"),
    ],
)
def test_settings_that_could_not_work_are_one_sentence(change, words):
    with pytest.raises(BadInput, match=words) as caught:
        validate(Settings, {**PLAIN, **change}, "method.apm")
    assert str(caught.value).count(".\n") == 0 and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ipc": 3, "shards": 2}, "method.ipc is 3, which method.apm.shards, 2, does not divide"),
        ({"ipc": 2, "batch_syn": 21}, "method.apm.batch_syn is 21, but there are only 20 images"),
        ({"ipc": 2, "shards": 2, "batch_syn": 20}, "there are only 10 images of each shard"),
        ({"ipc": 2, "teacher": "white"}, "method.teacher is 'white', whose source, sources/white, has another zca"),
        ({"ipc": 2, "epochs": 7}, "they do not divide 7 epochs"),
        (
            {"ipc": 2, "teacher": "blind"},
            "method.teacher is 'blind', whose networks do not know the classes of the dataset",
        ),
    ],
)
def test_the_check_refuses_them_too(change, words):
    values = parameters.load(ROOT / "params.yaml").values
    values["method"] |= {"name": "apm", **{k: v for k, v in change.items() if k in values["method"]}}
    values["method"]["apm"] |= {k: v for k, v in change.items() if k in values["method"]["apm"]}
    values["sources"] = {"white": {"name": "digits", "zca": True}}
    values["teacher"]["white"] = {**values["teacher"]["main"], "source": "sources/white"}
    values["teacher"]["blind"] = {**values["teacher"]["main"], "objective": "dino", "dino": {"probe": None}}
    with pytest.raises(BadInput, match=words):
        checks.check_all(Params(values))


def test_published_settings_pass_the_check():
    values = parameters.load(ROOT / "params.yaml").values
    values["method"] |= {"name": "apm", "ipc": 50}
    checks.check_all(Params(values))
