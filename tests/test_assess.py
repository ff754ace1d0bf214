"""Assessments against plain float64 references, resumed in the middle, and refusing what could not be judged."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from distillation import checks, params, paths
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.spaces import Space
from distillation.evaluation.assess import models
from distillation.evaluation.assess.features import kernel_distance, mean_distance, spread
from distillation.evaluation.assess.gradients import gradient_distance, gradients
from distillation.evaluation.assess.models import Job, Model, measure, models_of
from distillation.evaluation.assess.pixels import statistics
from distillation.evaluation.assess.semantics import semantics
from distillation.evaluation.assess.sets import sets_of
from distillation.evaluation.assess.settings import Assess
from distillation.networks.build import build
from distillation.report.assessments import MEANINGS
from distillation.runtime import files
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers.pool import FILE as POOL
from tests.helpers.data import CLASSES, RECORD, SIZE, noise_set
from tests.helpers.pools import pool_in

pytestmark = pytest.mark.usefixtures("own_root")

torch.set_num_threads(1)
WORD = "ConvNetW8D2"


def written(tmp_path, ipc=2, words=(WORD,), space=None, control=False, **pool):
    """A real set, a noisy distilled one and a pool on disk."""
    data = noise_set()
    data.save(tmp_path / "real")
    labels = torch.arange(CLASSES).repeat_interleave(ipc)
    raw = torch.rand(len(labels), 3, SIZE, SIZE, generator=generator(0, "made")) * 1.4 - 0.2
    space = space or data.space
    info = {**RECORD, "ipc": ipc}
    made = DistilledSet(space.encode(raw), labels, None, space, info)
    made.save(tmp_path / "set" / FILE)
    if control:
        made.save(tmp_path / "set" / "control.safetensors")
    (tmp_path / "pool").mkdir(exist_ok=True)
    return data, raw, pool_in(tmp_path / "pool", words, **pool)


def labelled(tmp_path):
    """The files of the sets by name, as the stage finds them."""
    files = {name: tmp_path / "set" / path.name for name, path in paths.LABELLED.items()}
    return {name: path for name, path in files.items() if path.is_file()}


def measured(tmp_path, model=None, chunk=256, real=7, kills=(), tag=""):
    """The record of one model as {(set, assessment): value}; killed right after each checkpoint numbered ``kills``."""
    model, seen = model or Model(WORD, 0, "last"), []

    def checkpoint(task, state):
        save(task, state)
        seen.append(state)
        if len(seen) in kills:
            raise KeyboardInterrupt

    save = Task.checkpoint
    inputs = {"model": str(model), "chunk": chunk, "real": real, "kills": list(kills), "tag": tag}
    with pytest.MonkeyPatch.context() as patch, locked_tasks([Task.of("assess", inputs, 0.0)]) as (task,):
        patch.setattr(Task, "due", lambda task: True)
        patch.setattr(Task, "checkpoint", checkpoint)
        pool = tmp_path / "pool" / POOL
        job = Job(data=tmp_path / "real", sets=labelled(tmp_path), pool=pool, model=model, real=real, chunk=chunk)
        for _ in kills:
            with pytest.raises(KeyboardInterrupt):
                measure(job, task, "cpu")
        measure(job, task, "cpu")
    return {(row["set"], row["assessment"]): row["value"] for row in files.load_json(task.finished() / models.RECORD)}


def plain_gradient(network, images, label):
    loss = F.cross_entropy(network(images), torch.full((len(images),), label))
    return torch.autograd.grad(loss, list(network.parameters()))


def plain_distance(real, made):
    """DC's equation 10, output by output."""
    total = 0.0
    for a, b in zip(real, made, strict=True):
        if a.ndim > 1:
            for x, y in zip(a.flatten(1), b.flatten(1), strict=True):
                total += 1 - float(x @ y) / (float(x.norm() * y.norm()) + 1e-6)
    return total


@pytest.mark.parametrize("word", [WORD, "ConvNetW8D2BN", "ConvNetW8D1LN", "MLP"])
def test_values_agree_with_a_float64_reference(tmp_path, word):
    data, _, pool = written(tmp_path, words=(word,))
    found = measured(tmp_path, Model(word, 0, "last"))
    network = pool.network(pool.members[0]).double().requires_grad_(True)
    sets = {name: (made.images.double(), made.labels) for name, made in sets_of(labelled(tmp_path), data).items()}
    chosen = data.sample([7] * CLASSES, generator(0, "assess real"))
    for name, (images, labels) in sets.items():
        logits = network(images).detach()
        assert found[name, "accuracy"] == pytest.approx(100 * float((logits.argmax(1) == labels).double().mean()))
        assert found[name, "cross_entropy"] == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
        gradient, mean, kernel, distance = [], [], [], []
        for c, indices in enumerate(chosen):
            real, mine = data.encode(data.train.images[indices]).double(), images[labels == c]
            gradient.append(plain_distance(plain_gradient(network, real, c), plain_gradient(network, mine, c)))
            if word != "MLP":
                a, b = network.embed(real).detach(), network.embed(mine).detach()
                mean.append(sum((float(x) - float(y)) ** 2 for x, y in zip(a.mean(0), b.mean(0), strict=True)))
                k = lambda x, y: sum((float(p @ q) / len(p) + 1) ** 3 for p in x for q in y) / len(x) / len(y)  # noqa: E731
                kernel.append(k(a, a) + k(b, b) - 2 * k(a, b))
                distance.append(float((b[0] - b[1]).norm()))
        assert found[name, "gradient_distance"] == pytest.approx(sum(gradient) / CLASSES, rel=1e-4)
        for key, values in {"feature_distance": mean, "kernel_distance": kernel, "feature_diversity": distance}.items():
            wanted = pytest.approx(sum(values) / CLASSES, rel=1e-4, abs=1e-9) if values else None
            assert found[name, key] == wanted, key


def test_chunks_change_nothing_but_rounding(tmp_path):
    written(tmp_path, words=("ConvNetW8D2BN",))
    for model in (Model("ConvNetW8D2BN", 0, "last"), Model(WORD, 1, "fresh")):
        whole, parts = measured(tmp_path, model), measured(tmp_path, model, chunk=3)
        assert whole.keys() == parts.keys()
        for key, value in whole.items():
            assert parts[key] == pytest.approx(value, rel=1e-4, abs=1e-7), key


def test_resumed_after_any_class_gives_the_same_record(tmp_path):
    written(tmp_path, control=True)
    whole = measured(tmp_path)
    for kills in ((1,), (2,), (1, 2, 3)):
        assert measured(tmp_path, kills=kills) == whole


def test_random_networks_are_like_the_pool_and_drawn_by_their_number(tmp_path):
    _, _, pool = written(tmp_path, words=(WORD, "MLP"))
    assert [str(model) for model in models_of(pool, 2)] == [
        *(f"{WORD}/0/last", "MLP/0/last"),
        *(f"{WORD}/0/fresh", f"{WORD}/1/fresh", "MLP/0/fresh", "MLP/1/fresh"),
    ]
    first, other = (measured(tmp_path, Model(WORD, index, "fresh")) for index in (0, 1))
    assert {name for _, name in first} == {f"fresh_{key}_distance" for key in ("gradient", "feature", "kernel")}
    assert first != other
    assert first == measured(tmp_path, Model(WORD, 0, "fresh"), kills=(1,))


def test_batch_norms_of_random_networks_know_the_real_images(tmp_path):
    data, _, pool = written(tmp_path, words=("ConvNetW8D2BN",))
    real = data.sample([5] * CLASSES, generator(0, "assess real"))
    network = models._network(pool, Model("ConvNetW8D2BN", 0, "fresh"), data, real, 64)
    images = data.encode(data.train.images[torch.cat(real)])
    maps = network.body[0](images)
    torch.testing.assert_close(network.body[1].running_mean, maps.mean((0, 2, 3)))
    torch.testing.assert_close(network.body[1].running_var, maps.var((0, 2, 3)))
    assert not network.training
    pairs = measured(tmp_path, Model("ConvNetW8D2BN", 0, "fresh"), chunk=4)
    assert all(value is not None for value in pairs.values())


def test_batch_norms_of_random_networks_see_what_each_class_has(tmp_path):
    """One image of a class leaves the others theirs; classes come in turn."""
    data, _, pool = written(tmp_path, words=("ConvNetW8D2BN",))
    real = [members[:count] for members, count in zip(data.members, (1, 3, 12), strict=True)]
    network = models._network(pool, Model("ConvNetW8D2BN", 0, "fresh"), data, real, 64)
    maps = network.body[0](data.encode(data.train.images[torch.cat(real)]))
    torch.testing.assert_close(network.body[1].running_mean, maps.mean((0, 2, 3)))


def test_a_pool_with_another_space_is_given_its_own(tmp_path):
    """The same weights fed the same pixels say the same, whatever space the set and the pool keep."""
    _, raw, pool = written(tmp_path, words=(WORD,), space=Space.raw())
    found = measured(tmp_path)
    network = pool.network(pool.members[0])
    labels = torch.arange(CLASSES).repeat_interleave(2)
    assert found["distilled", "cross_entropy"] == pytest.approx(
        float(F.cross_entropy(network(pool.space.encode(raw)), labels)), rel=1e-4
    )


def test_sets_are_the_distilled_the_control_and_random_images(tmp_path):
    data, raw, _ = written(tmp_path, ipc=3, control=True)
    sets = sets_of(labelled(tmp_path), data)
    assert list(sets) == ["distilled", "control", "random"]
    images, labels = sets["random"].images, sets["random"].labels
    assert torch.bincount(labels).tolist() == [3] * CLASSES
    for image, label in zip(images, labels, strict=True):
        mine = data.encode(data.train.images[data.train.labels == label])
        assert (image == mine).flatten(1).all(1).any()
    assert len(images.unique(dim=0)) == len(images) == len(raw)
    assert torch.equal(images, sets_of(labelled(tmp_path), data)["random"].images)


def test_one_image_a_class_has_no_diversity(tmp_path):
    _, raw, _ = written(tmp_path, ipc=1)
    found = measured(tmp_path)
    assert found["distilled", "feature_diversity"] is None and found["distilled", "kernel_distance"] > 0
    assert statistics(raw, torch.arange(CLASSES))["pixel_diversity"] is None


def test_a_class_without_images_is_left_out(tmp_path):
    written(tmp_path)
    made, path = DistilledSet.load(tmp_path / "set" / FILE), tmp_path / "set" / FILE
    found = []
    for classes in ((0, 2), (0,), (2,)):
        keep = torch.isin(made.labels, torch.tensor(classes))
        DistilledSet(made.images[keep], made.labels[keep], None, made.space, made.info).save(path)
        found.append(measured(tmp_path, tag=classes))
    both, *alone = found
    for key in both:
        if key[0] == "distilled":
            assert both[key] == pytest.approx(sum(one[key] for one in alone) / 2, rel=1e-6), key


def test_pixel_statistics_by_hand():
    raw = torch.tensor([[0.0, 0.5], [1.25, -0.25]]).view(1, 1, 2, 2)
    raw = torch.cat([raw, raw + 0.5])
    found = statistics(raw, torch.tensor([4, 4]))
    values = raw.flatten().double()
    assert found["pixel_mean"] == pytest.approx(float(values.mean()))
    assert found["pixel_std"] == pytest.approx(float(values.std(correction=0)))
    assert found["outside"] == 100 * 3 / 8
    assert found["total_variation"] == pytest.approx((0.5 + 1.5 + 1.25 + 0.75) / 4)
    assert found["pixel_diversity"] == pytest.approx(1.0)


ROWS = st.integers(1, 6)


@given(a=ROWS, b=ROWS, width=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_feature_distances_are_distances(a, b, width, seed):
    draws = generator(seed, "features")
    x, y = (torch.randn(n, width, dtype=torch.float64, generator=draws) for n in (a, b))
    for distance in (mean_distance, kernel_distance):
        assert distance(x, y) == pytest.approx(distance(y, x))
        assert distance(x, y) > -1e-9
        assert distance(x, x.flip(0)) == pytest.approx(0, abs=1e-9)
    assert (spread(x) is None) == (a == 1)
    linear = (x @ x.T).mean() + (y @ y.T).mean() - 2 * (x @ y.T).mean()
    assert mean_distance(x, y) == pytest.approx(float(linear), abs=1e-9)  # DM's is the MMD of the linear kernel


def test_gradient_distance_is_zero_to_itself_and_two_an_output_to_its_opposite():
    network = build(WORD, 3, SIZE, CLASSES, generator(0, "network"))
    images = torch.randn(4, 3, SIZE, SIZE, generator=generator(0, "images"))
    mine = gradients(network, images, 1, 256)
    assert {tuple(g.shape) for g in mine} == {tuple(p.shape) for p in network.parameters() if p.ndim > 1}
    outputs = 8 + 8 + CLASSES
    assert gradient_distance(mine, mine) == pytest.approx(0, abs=0.05)  # 1e-6 beside the norms' product
    assert gradient_distance(mine, [-g for g in mine]) == pytest.approx(2 * outputs, abs=0.05)


def test_semantics_judges_the_class_and_not_a_soft_label(tmp_path):
    _, _, pool = written(tmp_path)
    made = DistilledSet.load(tmp_path / "set" / FILE)
    before = measured(tmp_path)
    info = {**made.info, "labels": "soft"}
    wrong = torch.eye(CLASSES)[(made.labels + 1) % CLASSES]
    DistilledSet(made.images, made.labels, wrong, made.space, info).save(tmp_path / "set" / FILE)
    assert measured(tmp_path, tag="soft") == before
    network = pool.network(pool.members[0])
    logits = network(made.images)
    perfect = semantics(network, made.images, logits.argmax(1), 2)
    assert perfect["accuracy"] == 100
    assert perfect["entropy"] == pytest.approx(float(torch.distributions.Categorical(logits=logits).entropy().mean()))


def test_every_assessment_has_its_words(tmp_path):
    _, raw, _ = written(tmp_path)
    names = {name for model in (None, Model(WORD, 0, "fresh")) for _, name in measured(tmp_path, model)}
    assert names | statistics(raw, torch.arange(CLASSES).repeat_interleave(2)).keys() == MEANINGS.keys()


def test_the_global_generator_is_left_alone(tmp_path):
    written(tmp_path)
    state = torch.random.get_rng_state()
    measured(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_judged_is_refused(tmp_path):
    data, _, pool = written(tmp_path)
    models.require_compatible(pool, data)
    (tmp_path / "other").mkdir()
    other = pool_in(tmp_path / "other", classes=("a", "b", "d"))
    with pytest.raises(BadInput, match=r"^evaluate\.assess\.teachers has 'main', whose models know other classes"):
        models.require_compatible(other, data)
    with pytest.raises(BadInput, match=r"take 3 channels of 16 px, but the images have 3 of 8 px\.$"):
        models.require_compatible(pool_in(tmp_path / "other", size=16), data)
    made = DistilledSet.load(tmp_path / "set" / FILE)
    many = made.labels.new_zeros(13)
    DistilledSet(made.images[many], many, None, made.space, made.info).save(tmp_path / "set" / FILE)
    with pytest.raises(BadInput, match="has 13 images of class 'a', but the dataset only 12"):
        sets_of(labelled(tmp_path), data)
    DistilledSet(made.images, made.labels, None, made.space, {**made.info, "classes": ["x", "y", "z"]}).save(
        tmp_path / "set" / FILE
    )
    with pytest.raises(BadInput, match="the classes of the distilled set are not those of the dataset"):
        sets_of(labelled(tmp_path), data)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"teachers": ["nobody"]}, r"^evaluate\.assess\.teachers is 'nobody', but the pools .* are main\.$"),
        ({"teachers": ["main", "main"]}, r"^evaluate\.assess\.teachers .*should name each pool once\.$"),
        ({"teachers": "main"}, r"^evaluate\.assess\.teachers is 'main', but should be a valid list\.$"),
        ({"real": 1}, r"^evaluate\.assess\.real is 1, but should be greater than or equal to 2\.$"),
        ({"frehs": 5}, r"^evaluate\.assess\.frehs is not a setting"),
    ],
)
def test_check_refuses_in_one_sentence(change, sentence):
    values = copy.deepcopy(params.load().values)
    checks.check_all(params.Params(values))
    values["evaluate"]["assess"] |= change
    with pytest.raises(BadInput, match=sentence):
        checks.check_all(params.Params(values))


def test_the_default_assesses_under_no_pool():
    assert params.load().section("evaluate.assess", Assess).teachers == []
