"""FRePo against a plain reference in float64: its loss, its optimisers, its pool, resumed, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from distillation.data.distilled import FILE, DistilledSet
from distillation.evaluation.sets import FromFile
from distillation.methods.driver import updates
from distillation.methods.guidance import Guidance
from distillation.networks.build import build
from distillation.params import validate
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import RegressionSettings
from tests.helpers.data import CLASSES, IPC, SIZE, noise_set
from tests.helpers.methods import GUIDANCE, method_of, run
from tests.helpers.pools import pool_in

WORD, COUNT = "ConvNetW6D2BN", CLASSES * IPC


def method_in(data=None, common=None, **settings):
    common = {"network": WORD, **(common or {})}
    return method_of("frepo", data=data, settings=settings, **common)


def in_float64(network):
    copy = build(WORD, 3, SIZE, CLASSES, generator(0, "any")).double()
    copy.load_state_dict(network.state_dict())
    return copy.eval()


def reference(method, images, targets, update, mirror=True):
    """L as it is written, by an explicit inverse, in float64."""
    network, data = in_float64(method._drawn(update).network), method.problem.data
    order = torch.randperm(len(data.train), generator=method.problem.draws("order", update // 4))
    index = order[update % 4 * 10 :][:10]
    wanted = torch.eye(CLASSES).double()[data.train.labels[index]] - 1 / CLASSES
    top = targets.sort(dim=1, descending=True).values
    margin = torch.minimum(top[:, 0] - top[:, 1], torch.tensor(1 / CLASSES).double()).mean()
    if mirror:
        images, targets = torch.cat([images, images.flip(3)]), torch.cat([targets, targets])
    synthetic, real = network.embed(images), network.embed(data.encode(data.train.images[index]).double())
    kernel = synthetic @ synthetic.T
    inverse = torch.linalg.inv(kernel + 1e-6 * kernel.trace() / len(kernel) * torch.eye(len(kernel)).double())
    said = real @ synthetic.T @ inverse @ targets
    return (0.5 * (said - wanted) ** 2).sum(1).mean() - margin


@pytest.mark.parametrize("mirror", [True, False])
def test_an_update_agrees_with_a_float64_reference(mirror):
    method = method_in(mirror=mirror)
    for update in range(5):  # an epoch has four batches, of which the last is short
        images, targets = (x.detach().double().requires_grad_() for x in (method.images, method.targets))
        loss = reference(method, images, targets, update, mirror)
        exact = torch.autograd.grad(loss, (images, targets))
        step = method.advance()
        assert step.image_grad_ready and float(step.metrics["loss"]) == pytest.approx(float(loss.detach()), rel=1e-3)
        for given, wanted in zip((method.images.grad, method.targets.grad), exact, strict=True):
            assert float((given - wanted).norm() / wanted.norm()) < 5e-3  # features are float32, the kernel amplifies
        method.apply()


def test_images_are_not_mirrored_where_that_changes_the_class():
    data = noise_set()
    data = replace(data, info={**data.info, "flip": False})
    first, second = (method_in(data, mirror=mirror) for mirror in (True, False))
    assert torch.equal(run(first).images, run(second).images)


def lamb(leaf, gradient, moments, step, rate):
    """One step as it is published (You et al. 2020), without decay of weights."""
    moments[0] = 0.9 * moments[0] + 0.1 * gradient
    moments[1] = 0.999 * moments[1] + 0.001 * gradient**2
    update = moments[0] / (1 - 0.9**step) / ((moments[1] / (1 - 0.999**step)).sqrt() + 1e-6)
    return leaf - rate * leaf.norm() / update.norm() * update


def rate_at(update, lr=0.01, iterations=8):
    return lr * (0.1 + 0.9 * (1 + math.cos(math.pi * update / iterations)) / 2)


def test_lamb_takes_the_published_steps():
    method = method_in()
    leaves = [x.detach().double() for x in (method.images, method.targets)]
    moments = [[torch.zeros_like(leaf), torch.zeros_like(leaf)] for leaf in leaves]
    for update in range(6):
        method.advance()
        for i, given in enumerate((method.images.grad, method.targets.grad)):
            leaves[i] = lamb(leaves[i], given.double(), moments[i], update + 1, rate_at(update))
        method.apply()
        for ours, wanted in zip((method.images, method.targets), leaves, strict=True):
            torch.testing.assert_close(ours.detach().double(), wanted, rtol=1e-4, atol=1e-5)


def test_adam_takes_torchs_steps():
    method = method_in(optimizer="adam")
    leaves = [x.detach().clone().requires_grad_() for x in (method.images, method.targets)]
    optimizer = torch.optim.Adam(leaves, 0.01)
    for update in range(6):
        method.advance()
        leaves[0].grad, leaves[1].grad = method.images.grad.clone(), method.targets.grad.clone()
        method.apply()
        optimizer.param_groups[0]["lr"] = rate_at(update)
        optimizer.step()
        for ours, theirs in zip((method.images, method.targets), leaves, strict=True):
            torch.testing.assert_close(ours.detach(), theirs.detach())


def test_the_first_labels_are_centred_and_scaled():
    method = method_in()
    wanted = (torch.eye(CLASSES)[method.labels] - 1 / CLASSES) / math.sqrt(CLASSES / 10)
    torch.testing.assert_close(method.targets.detach(), wanted)
    torch.testing.assert_close(float(method._margin().detach()), 1 / CLASSES)


def test_networks_learn_a_batch_of_the_moved_set_by_adam_and_are_replaced():
    method = method_in(pool=1)
    (regressor,) = method.pool
    plain = build(WORD, 3, SIZE, CLASSES, method.problem.draws("pool", 0))
    optimizer = torch.optim.Adam(plain.parameters(), 0.01)
    for update in range(5):  # one more than pool_steps, as the official code compares the count by >
        method.advance()
        method.apply()
        order = torch.randperm(COUNT, generator=method.problem.draws("batch", update))[:4]
        optimizer.zero_grad()
        F.mse_loss(plain.train()(method.images.detach()[order]), method.targets.detach()[order]).backward()
        optimizer.step()
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(regressor.network.state_dict()[name], value)
    assert regressor.steps == 5
    method.advance()
    method.apply()
    fresh = build(WORD, 3, SIZE, CLASSES, method.problem.draws("renewed", 5))
    assert all(torch.equal(v, regressor.network.state_dict()[n]) for n, v in fresh.state_dict().items())
    assert regressor.steps == 0 and not regressor.optimizer.state


def test_networks_begin_with_counts_equally_far_apart():
    assert [regressor.steps for regressor in method_in(pool=4, pool_steps=100).pool] == [0, 25, 50, 75]


@pytest.mark.parametrize("optimizer", ["lamb", "adam"])
def test_resumed_between_any_two_units_it_gives_the_same_bits(optimizer):
    def again():
        return method_in(optimizer=optimizer)

    whole = run(again())
    for stops in (set(range(1, 8)), {3}, {2, 6}):
        stopped = run(again(), stops, again)
        assert torch.equal(whole.images, stopped.images) and torch.equal(whole.targets, stopped.targets)
        assert whole.cost() == stopped.cost()
        for ours, theirs in zip(whole.pool, stopped.pool, strict=True):
            states = ours.network.state_dict(), theirs.network.state_dict()
            assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_learning_lowers_the_loss():
    method = method_in(noise_set(30), iterations=40, lr=0.03, batch_real=90)
    losses = [float(unit.metrics["loss"]) for unit in updates(method)]
    assert sum(losses[-8:]) < sum(losses[:8]) - 0.1


def test_the_result_says_what_it_is_and_survives_a_file(tmp_path):
    made = run(method_in()).result()
    assert made.labels.tolist() == [c for c in range(CLASSES) for _ in range(IPC)]
    assert made.targets.shape == (COUNT, CLASSES)
    made.save(tmp_path / FILE)
    found = DistilledSet.load(tmp_path / FILE)
    assert found.kind == made.kind and torch.equal(found.targets, made.targets) and found.space.same(made.space)


def test_guidance_joins_the_images_gradient(tmp_path):
    method = method_in(common={"alpha": 1.0, "guidance": {**GUIDANCE, "scale": "relative"}})
    guidance = Guidance(method.problem, pool_in(tmp_path))
    method.advance()
    alone = method.images.grad.clone()
    guidance.add_gradient(method, 0)
    assert float((method.images.grad - alone).norm()) == pytest.approx(float(alone.norm()), rel=1e-4)


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    run(method_in())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_cost_counts_every_pass():
    method = run(method_in())
    cost = method.cost().record()
    moved = 8 * 2 * COUNT + method.network_steps * 4
    assert cost["images_forward"] == 2 * 36 + moved and cost["images_backward"] == moved


def test_half_precision_stays_close():
    exact, rough = (method_in(common={"precision": precision}) for precision in ("fp32", "bf16"))
    assert float(rough.advance().metrics["loss"]) == pytest.approx(float(exact.advance().metrics["loss"]), rel=0.3)


def test_what_cannot_work_is_refused_in_one_sentence():
    method = method_in()
    with torch.no_grad():
        method.images[0] = torch.nan
    method.advance()  # which leaves it unread
    with pytest.raises(BadInput, match="^the kernel of 12 images is singular or not finite at ridge 1e-06: "):
        method.require_sound()
    method = method_in()
    with torch.no_grad():
        method.targets[0] = torch.inf
    with pytest.raises(BadInput, match="^the labels are not finite at the end: lower method\\.frepo\\.lr\\.$"):
        method.result()
    with pytest.raises(BadInput, match="has no features to match"):
        method_in(common={"network": "MLP"}).advance()


REGRESSION = {"loss": "mse", "epochs": 6, "batch": 4, "lr": 0.01, "weight_decay": 0.0, "warmup": 2, "augment": "none"}


def test_students_learn_the_labels_by_the_published_protocol(tmp_path):
    """Adam on the squared error, at a rate that rises, then falls along a cosine to a hundredth."""
    made, data = run(method_in()).result(), noise_set()
    made.save(tmp_path / FILE)
    batch_of, count = FromFile(tmp_path / FILE).images(data, made.kind)
    settings = validate(RegressionSettings, REGRESSION, "evaluate.standard.regression")
    network, plain = (build("ConvNetW6D2NN", 3, SIZE, CLASSES, generator(0, "student")) for _ in range(2))
    training = Training(network, batch_of, count, loss_of("mse"), settings, 0, "student", True)
    optimizer = torch.optim.Adam(plain.parameters(), 0.01)
    for epoch in range(6):
        rate = epoch / 2 if epoch < 2 else 0.01 + 0.99 * (1 + math.cos(math.pi * (epoch - 2) / 4)) / 2
        optimizer.param_groups[0]["lr"] = 0.01 * rate
        for index in torch.randperm(COUNT, generator=generator(0, "student", "order", epoch)).split(4):
            optimizer.zero_grad()
            F.mse_loss(plain(made.images[index]), made.targets[index]).backward()
            optimizer.step()
    while not training.done:
        training.advance()
    for ours, theirs in zip(network.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(BadInput, match="has a warmup of 6 epochs, which must end before epoch 6"):
        validate(RegressionSettings, {**REGRESSION, "warmup": 6}, "evaluate.standard.regression")
