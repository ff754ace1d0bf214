"""KRR-ST against plain references in float64, resumed with its pool, blind to labels, and refusing what cannot work."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from distillation.augment.standard import crop_flip
from distillation.data.distilled import DistilledSet
from distillation.data.spaces import Space
from distillation.methods import krr_st
from distillation.methods.families.ridge import predictions
from distillation.networks.build import build
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from tests.helpers.data import CLASSES, SIZE, noise_set
from tests.helpers.methods import method_of, run
from tests.helpers.pools import pool_in

WORD = "ConvNetW6D2BN"


def method_in(folder, data=None, space=None, words=(WORD,), size=SIZE, common=None, **settings):
    """KRR-ST with a target model of features alone, as a self-supervised one has."""
    pool = pool_in(folder, words, space=space, size=size)
    common = {"network": WORD, **(common or {})}
    return method_of("krr_st", pool, data=data, settings=settings, **common)


def to_the_first_update(method):
    while method.at < method.before:
        assert not method.advance().image_grad_ready
    return method


def same(a, b):
    return torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)


def in_float64(network, word=WORD):
    """A copy of a network that computes in float64, in eval mode."""
    copy = build(word, 3, SIZE, network.classifier.out_features, generator(0, "any")).double()
    copy.load_state_dict(network.state_dict())
    return copy.eval()


def outer_loss(network, images, targets, real, wanted, ridge, weight=None):
    """The published loss as it is written, with a column of ones, in float64; ``weight`` is λ where it is held fixed."""
    synthetic, real = (torch.cat([f, torch.ones(len(f), 1).double()], 1) for f in map(network.embed, (images, real)))
    kernel = synthetic @ synthetic.T
    weight = ridge * kernel.detach().trace() if weight is None else weight
    solved = torch.linalg.inv(kernel + weight * torch.eye(len(kernel)).double()) @ targets
    return ((real @ synthetic.T @ solved - wanted) ** 2).mean(), weight


def real_batch(method, update):
    """(images, targets) in float64 of an update, made step by step from the named draws."""
    problem, settings = method.problem, method.settings
    per_epoch = -(-len(method.problem.data.train) // settings.batch_real)
    order = torch.randperm(len(method.problem.data.train), generator=problem.draws("order", update // per_epoch))
    index = order[update % per_epoch * settings.batch_real :][: settings.batch_real]
    raw = problem.data.train.images[index].float() / 255
    if settings.crop_flip:
        raw = crop_flip(raw, problem.draws("augment", update), True, 4)
    pool = problem.teachers
    spaces = [
        Space("normalised", {k: v.double() for k, v in s.tensors.items()}) for s in (problem.data.space, pool.space)
    ]
    ours, theirs = (space.encode(raw.double()) for space in spaces)
    target = in_float64(pool.network(pool.members[0]))
    return ours, target.embed(theirs)


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("space", [None, Space.normalised([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])])
def test_an_update_agrees_with_a_float64_reference(tmp_path, crop, space):
    method = to_the_first_update(method_in(tmp_path, crop_flip=crop, space=space))
    for update in range(5):  # an epoch has four batches, of which the last is short
        images, targets = (x.detach().double().requires_grad_() for x in (method.images, method.targets))
        network = in_float64(method._drawn(update).network)
        loss, _ = outer_loss(network, images, targets, *real_batch(method, update), method.settings.ridge)
        step = method.advance()
        assert step.image_grad_ready and float(step.metrics["loss"]) == pytest.approx(float(loss.detach()), rel=1e-3)
        wanted = torch.autograd.grad(loss, (images, targets))
        for given, exact in zip((method.images.grad, method.targets.grad), wanted, strict=True):
            assert float((given - exact).norm() / exact.norm()) < 5e-3  # features are float32, and the kernel amplifies
        method.apply()


def test_the_gradient_agrees_with_finite_differences_in_float64(tmp_path):
    draws = generator(0, "finite differences")
    network = build(WORD, 3, SIZE, 5, draws).double().eval()
    images, targets = torch.rand(6, 3, SIZE, SIZE, generator=draws).double(), torch.rand(6, 4, generator=draws).double()
    real, wanted = torch.randn(9, 3, SIZE, SIZE, generator=draws).double(), torch.rand(9, 4, generator=draws).double()
    images.requires_grad_(), targets.requires_grad_()
    said = predictions(network.embed(images), targets, network.embed(real), 1e-2)
    gradients = torch.autograd.grad((said - wanted).square().mean(), (images, targets))
    _, weight = outer_loss(network, images, targets, real, wanted, 1e-2)

    def difference(direction, place, step=1e-5):
        moved = [[images, targets], [images, targets]]
        for sign, values in zip((1, -1), moved, strict=True):
            values[place] = values[place] + sign * step * direction
        high, low = (outer_loss(network, *values, real, wanted, None, weight)[0] for values in moved)
        return float((high - low).detach()) / (2 * step)

    for place, gradient in enumerate(gradients):
        for _ in range(5):
            direction = torch.randn(gradient.shape, generator=draws).double()
            assert difference(direction, place) == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def test_the_solve_is_exact_to_a_stated_tolerance_whatever_the_features_came_in():
    """1e-8 relative, against numpy's least squares on the stacked system, at the published ridge and a bad condition."""
    draws = generator(0, "solve")
    synthetic = torch.randn(40, 30, generator=draws) @ torch.diag(torch.logspace(0, -4, 30))
    targets, real = torch.randn(40, 3, generator=draws), torch.randn(20, 30, generator=draws)
    for dtype in (torch.float32, torch.bfloat16):
        features, given = synthetic.to(dtype), real.to(dtype)
        stacked = np.hstack([features.double().numpy(), np.ones((40, 1))])
        weight = 1e-6 * (stacked**2).sum()
        # ridge in the primal: (S'S + λI) w = S'Y, which K_ts (K + λI)^-1 Y equals
        system = np.vstack([stacked, np.sqrt(weight) * np.eye(31)])
        solved = np.linalg.lstsq(system, np.vstack([targets.double().numpy(), np.zeros((31, 3))]))[0]
        wanted = np.hstack([given.double().numpy(), np.ones((20, 1))]) @ solved
        said = predictions(features, targets, given, 1e-6)
        assert said.dtype == torch.float64
        assert np.linalg.norm(said.numpy() - wanted) / np.linalg.norm(wanted) < 1e-8


def test_images_and_targets_take_the_published_steps(tmp_path):
    """AdamW without decay of weights, its rate falling linearly to a thousandth."""
    method = to_the_first_update(method_in(tmp_path))
    leaves = [x.detach().clone().requires_grad_() for x in (method.images, method.targets)]
    optimizer = torch.optim.AdamW(leaves, 0.01, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.001, total_iters=6)
    for _ in range(6):
        method.advance()
        leaves[0].grad, leaves[1].grad = method.images.grad.clone(), method.targets.grad.clone()
        method.apply()
        optimizer.step()
        schedule.step()
        for ours, theirs in zip((method.images, method.targets), leaves, strict=True):
            torch.testing.assert_close(ours.detach(), theirs.detach())


def test_the_initial_set_is_raw_real_images_and_what_the_target_model_says_of_them(tmp_path):
    method = method_in(tmp_path, space=Space.normalised([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))
    data, pool = method.problem.data, method.problem.teachers
    index = torch.randperm(len(data.train), generator=method.problem.draws("init"))[:7]
    raw = data.train.images[index].float() / 255
    assert torch.equal(method.images.detach(), raw)
    wanted = pool.network(pool.members[0]).embed(pool.space.encode(raw))
    torch.testing.assert_close(method.targets.detach(), wanted, rtol=1e-4, atol=1e-5)
    assert method_in(tmp_path, images=None).images.shape[0] == CLASSES * 2, "ipc times the number of classes"
    assert method_in(tmp_path, common={"init": "noise"}).images.shape == (7, 3, SIZE, SIZE)


def test_networks_of_the_pool_learn_by_regression_on_the_whole_set(tmp_path):
    """SGD with momentum and weight decay on the mean squared error, in train mode; each starts with its own steps."""
    method = method_in(tmp_path)
    assert all(1 <= start <= 3 for start in method.starts) and method.before == sum(method.starts)
    width = method.targets.shape[1]
    network = build(WORD, 3, SIZE, width, method.problem.draws("pool", 0))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=0.001)
    for _ in range(method.starts[0]):
        method.advance()
        optimizer.zero_grad()
        F.mse_loss(network(method.images.detach()), method.targets.detach()).backward()
        optimizer.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(method.pool[0].network.state_dict()[name], value)
    to_the_first_update(method)
    assert [regressor.steps for regressor in method.pool] == method.starts


@pytest.mark.parametrize("reset", ["published", "corrected"])
def test_a_full_network_is_renewed_and_its_count_set_back_or_not(tmp_path, reset):
    method = to_the_first_update(method_in(tmp_path, pool=1, pool_steps=3, pool_reset=reset))
    (regressor,), counted, fresh = method.pool, [], []
    for update in range(6):
        method.advance()
        method.apply()
        untouched = build(WORD, 3, SIZE, method.targets.shape[1], method.problem.draws("renewed", update))
        fresh.append(
            all(torch.equal(a, regressor.network.state_dict()[n]) for n, a in untouched.state_dict().items())
            and not regressor.optimizer.state
        )
        counted.append(regressor.steps)
    start = method.starts[0]
    if reset == "published":
        wanted = [min(3, start + 1 + update) for update in range(6)]
    else:
        wanted = [(start + 1 + update) % 4 for update in range(6)]
    assert counted == wanted
    full = [start, *wanted][:-1]
    assert fresh == [count == 3 for count in full], "a network that is full is renewed and does not learn"


@pytest.mark.parametrize("crop", [True, False])
def test_resumed_between_any_two_units_it_gives_the_same_bits(tmp_path, crop):
    def again():
        return method_in(tmp_path, crop_flip=crop, pool_steps=4, iterations=8)

    whole = again()
    total = whole.total
    whole = run(whole)
    for stops in (set(range(1, total)), {whole.before}, {whole.before + 3}, {2, whole.before + 6}):
        stopped = run(again(), stops, again)
        assert same(whole.result(), stopped.result()) and whole.cost() == stopped.cost()
        for ours, theirs in zip(whole.pool, stopped.pool, strict=True):
            states = ours.network.state_dict(), theirs.network.state_dict()
            assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_answers_that_are_kept_go_back_to_the_device(tmp_path):
    method = run(method_in(tmp_path, crop_flip=False))
    state, again = method.state_dict(), method_in(tmp_path, crop_flip=False)
    again.problem.device = torch.device("meta")  # a checkpoint is read on the CPU, whatever it was made on
    again.load_state_dict(state)
    assert again.cache.device.type == "meta"
    again.load_state_dict(state | {"cache": None})
    assert again.cache is None


def test_no_label_of_the_source_is_read(tmp_path):
    """Labels in another order, or that are no classes at all, change no bit; the classes' images are never asked for."""
    data = noise_set()
    labels = data.train.labels
    poisons = [labels.flip(0), torch.full_like(labels, -(2**40))]
    sets = [replace(data, train=replace(data.train, labels=poison)) for poison in (labels, *poisons)]
    made = [run(method_in(tmp_path, each)) for each in sets]
    assert all("members" not in each.__dict__ for each in sets)
    for other in made[1:]:
        assert same(made[0].result(), other.result())


def test_the_global_generators_are_left_alone(tmp_path):
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    run(method_in(tmp_path))
    assert torch.equal(torch.random.get_rng_state(), before) and (np.random.get_state()[1] == numpy_before).all()


def test_without_augmentation_the_target_models_answers_are_kept(tmp_path, monkeypatch):
    kept = run(method_in(tmp_path, crop_flip=False))
    data, pool = kept.problem.data, kept.problem.teachers
    wanted = pool.network(pool.members[0]).embed(data.encode(data.train.images))
    torch.testing.assert_close(kept.cache, wanted, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(krr_st, "CACHE", 0)
    asked = run(method_in(tmp_path, crop_flip=False))
    assert asked.cache is None and asked.cache_units == 0
    torch.testing.assert_close(kept.targets, asked.targets, rtol=1e-3, atol=1e-3)


def test_the_result_says_what_it_is_and_survives_a_file(tmp_path):
    made = run(method_in(tmp_path)).result()
    assert made.labels is None and made.kind == "features" and made.info["feed"] == "stored"
    assert made.space.kind == "raw", "networks are given the raw pixels"
    assert made.bytes == {"images": 7 * 3 * SIZE * SIZE * 4, "labels": made.targets.numel() * 4}
    beside = replace(made, targets=None, info={**made.info, "labels": "online", "label_bytes": 9})
    assert beside.bytes["labels"] == 9, "no classes to count where teachers go with the set"
    made.save(tmp_path / "set.safetensors")
    found = DistilledSet.load(tmp_path / "set.safetensors")
    assert found.labels is None and same(found, made) and found.space.same(made.space)


def test_learning_lowers_the_loss_on_images_it_never_saw(tmp_path):
    method = to_the_first_update(
        method_in(tmp_path, data=noise_set(60), iterations=60, lr=0.02, pool_reset="corrected")
    )
    unseen = noise_set(60).encode(torch.randint(0, 256, (50, 3, SIZE, SIZE), generator=generator(9, "unseen")).byte())
    network = build(WORD, 3, SIZE, 5, generator(9, "judge")).eval()
    wanted = method._targets(unseen)

    @torch.no_grad()
    def loss():
        said = predictions(network.embed(method.images), method.targets, network.embed(unseen), 1e-6)
        return float((said - wanted).square().mean())

    before = loss()
    run(method)
    assert loss() < 0.8 * before


def test_half_precision_stays_close(tmp_path):
    exact, rough = (to_the_first_update(method_in(tmp_path, common={"precision": p})) for p in ("fp32", "bf16"))
    losses = [float(method.advance().metrics["loss"]) for method in (exact, rough)]
    assert losses[1] == pytest.approx(losses[0], rel=0.2)


def test_cost_counts_every_pass(tmp_path, monkeypatch):
    method = run(method_in(tmp_path))
    cost = method.cost().record()
    real = 36 + 10 + 10  # an epoch of 36 images in batches of 10, then two batches
    moved = 7 * (6 + method.network_steps)
    assert cost["images_forward"] == real + real + 7 + moved and cost["images_backward"] == moved
    monkeypatch.setattr(krr_st, "flops", lambda *_: 1e9)
    monkeypatch.setattr(type(method.problem.teachers), "flops", lambda *_: 1e10)
    assert method.cost().record()["gflop"] == real + 3 * moved + 10 * (real + 7)


def test_what_cannot_work_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"^method\.krr_st\.images asks for 37 images, but the dataset has 36\.$"):
        method_in(tmp_path, images=37)
    with pytest.raises(BadInput, match=r"^method\.teacher is 'main', whose MLP has no features\.$"):
        method_in(tmp_path, words=("MLP",))
    with pytest.raises(BadInput, match="take 3×16×16, but the images are 3×8×8"):
        method_in(tmp_path, size=16)
    with pytest.raises(BadInput, match="has no features to match"):
        to_the_first_update(method_in(tmp_path, common={"network": "MLP"})).advance()


def test_a_singular_kernel_is_refused_in_one_sentence(tmp_path):
    method = to_the_first_update(method_in(tmp_path, ridge=0.0))
    with torch.no_grad():
        method.images[1] = method.images[0]
    method.advance()  # which leaves it unread
    with pytest.raises(BadInput, match=r"^the kernel of 7 images is singular or not finite at ridge 0: .* wanted\.$"):
        method.require_sound()
    method = to_the_first_update(method_in(tmp_path))
    with torch.no_grad():
        method.images[0] = torch.nan
    method.advance()
    with pytest.raises(BadInput, match="singular or not finite"):
        method.require_sound()
