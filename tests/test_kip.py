"""KIP: its kernel against wide networks, its steps against a plain reference, its labels against least squares."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from distillation.data.distilled import FILE, DistilledSet
from distillation.methods.guidance import Guidance
from distillation.methods.kip import Settings, ntk
from distillation.params import validate
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from tests.helpers.data import CLASSES, IPC, SIZE, noise_set, uneven_set
from tests.helpers.methods import GUIDANCE, SETTINGS, method_of, run
from tests.helpers.pools import pool_in


def method_in(common=None, **settings):
    return method_of("kip", settings=settings, **(common or {}))


def images_of(count, seed=0):
    return torch.randn(count, 3, 4, 4, generator=generator(seed, "images")).double()


def wide_kernel(x, z, depth, width, draws):
    """The kernel of one random network of that width: the product of its gradients, layer by layer."""

    def passed(x):
        """Activations, and for each layer the derivative of the output by its outputs, of every input."""
        inputs, masks, at = [], [], x.flatten(1)
        for weight, bias in zip(weights, biases, strict=True):
            inputs.append(at)
            out = at @ weight.T * (2.0 / at.shape[1]) ** 0.5 + bias * 0.1
            masks.append(out > 0)
            at = out.relu()
        slopes = [torch.ones(len(x), 1).double()]
        for layer in range(depth, 0, -1):
            slopes.append(slopes[-1] @ weights[layer] * (2.0 / width) ** 0.5 * masks[layer - 1])
        return inputs, slopes[::-1]

    sizes = [x[0].numel(), *[width] * depth, 1]
    weights = [torch.randn(o, i, generator=draws).double() for i, o in pairwise(sizes)]
    biases = [torch.randn(o, generator=draws).double() for o in sizes[1:]]
    (ins, outs), (other_ins, other_outs) = passed(x), passed(z)
    layers = zip(ins, outs, other_ins, other_outs, strict=True)
    return sum((b @ d.T) * (2.0 / a.shape[1] * (a @ c.T) + 0.01) for a, b, c, d in layers)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_kernel_is_that_of_a_wide_network_within_two_percent(depth):
    x = images_of(8)
    draws, count = generator(2, "wide", depth), 80
    found = sum(wide_kernel(x, x, depth, 1000, draws) for _ in range(count)) / count
    for exact, near in ((ntk(x, depth=depth), found), (ntk(x[:5], x[5:], depth), found[:5, 5:])):
        assert float((near - exact).norm() / exact.norm()) < 0.02


def test_the_gradients_of_a_plain_network_are_what_the_wide_kernel_is_made_of():
    """The yardstick above by autograd, on a narrow network."""
    x, width, draws = images_of(4), 16, generator(0, "narrow")
    made = wide_kernel(x, x, 1, width, generator(0, "narrow"))
    first, last = (torch.randn(o, i, generator=draws).double() for i, o in ((48, width), (width, 1)))
    biases = [torch.randn(width, generator=draws).double(), torch.randn(1, generator=draws).double()]
    leaves = [leaf.requires_grad_() for leaf in (first, last, *biases)]
    hidden = (x.flatten(1) @ first.T * (2 / 48) ** 0.5 + biases[0] * 0.1).relu()
    outs = hidden @ last.T * (2 / width) ** 0.5 + biases[1] * 0.1
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(o, leaves, retain_graph=True)]) for o in outs.squeeze(1)
    ]
    torch.testing.assert_close(made, torch.stack(rows) @ torch.stack(rows).T)


def test_the_kernel_is_symmetric_positive_and_exact_on_its_diagonal():
    x = images_of(9)
    kernel = ntk(x, depth=2)
    assert torch.equal(kernel, kernel.T) or (kernel - kernel.T).abs().max() < 1e-12
    assert torch.linalg.eigvalsh(kernel).min() > 0
    near = ntk(x, x * (1 + 1e-9), depth=2)
    torch.testing.assert_close(near.diagonal(), kernel.diagonal(), rtol=1e-3, atol=0)


def test_the_kernel_of_identical_images_has_finite_gradients():
    x = images_of(3)
    x = torch.cat([x, x[:1]]).requires_grad_()
    (gradient,) = torch.autograd.grad(ntk(x, depth=2).sum() + ntk(x, x.detach(), 2).sum(), x)
    assert gradient.isfinite().all()


def reference(method, images, targets, update):
    """L as it is written, by an explicit inverse, in float64."""
    problem, ridge = method.problem, method.settings.ridge
    index = torch.cat(problem.batch(method.settings.batch_real, problem.draws("batch", update)))
    wanted = torch.eye(CLASSES).double()[problem.data.train.labels[index]] - 1 / CLASSES
    kernel = ntk(images, depth=method.settings.depth)
    inverse = torch.linalg.inv(kernel + ridge * kernel.trace() / len(images) * torch.eye(len(images)).double())
    said = ntk(problem.real(index).double(), images, method.settings.depth) @ inverse @ targets
    return ((said - wanted) ** 2).mean() / 2


@pytest.mark.parametrize("labels", ["fixed", "learnt"])
def test_updates_are_adam_on_the_loss_as_written(labels):
    method = method_in(labels=labels)
    leaves = [x.detach().clone().requires_grad_() for x in (method.images, method.targets)]
    optimizer = torch.optim.Adam(leaves if labels == "learnt" else leaves[:1], 0.04)
    for update in range(4):
        doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
        loss = reference(method, *doubles, update)
        exact = torch.autograd.grad(loss, doubles)
        step = method.advance()
        assert step.image_grad_ready and float(step.metrics["loss"]) == pytest.approx(float(loss.detach()), rel=1e-6)
        torch.testing.assert_close(method.images.grad.double(), exact[0], rtol=1e-4, atol=1e-8)
        leaves[0].grad = method.images.grad.clone()
        if labels == "learnt":
            torch.testing.assert_close(method.targets.grad.double(), exact[1], rtol=1e-4, atol=1e-8)
            leaves[1].grad = method.targets.grad.clone()
        method.apply()
        optimizer.step()
        for ours, theirs in zip((method.images, method.targets), leaves, strict=True):
            torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=0)


def test_the_gradient_agrees_with_finite_differences_in_float64():
    method = method_in(depth=2, ridge=1e-3)
    draws, targets = generator(0, "differences"), method.targets.detach().double()
    images = method.images.detach().double().requires_grad_()
    (gradient,) = torch.autograd.grad(reference(method, images, targets, 0), images)
    method.advance()
    torch.testing.assert_close(method.images.grad.double(), gradient, rtol=1e-4, atol=1e-9)
    for _ in range(4):
        direction, step = torch.randn(images.shape, generator=draws).double(), 1e-5
        ahead, behind = (float(reference(method, images.detach() + s * direction, targets, 0)) for s in (step, -step))
        assert (ahead - behind) / (2 * step) == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def test_solved_labels_are_those_of_least_squares():
    """As published: the pseudo-inverse of the whole map from labels to answers; and no other labels answer better."""
    method = run(method_in(iterations=0, labels="solved", ridge=1e-3))
    data, images = method.problem.data, method.images.detach().double()
    kernel = ntk(images)
    ridge = 1e-3 * kernel.trace() / len(images) * torch.eye(len(images)).double()
    answering = (ntk(data.encode(data.train.images).double(), images) @ torch.linalg.inv(kernel + ridge)).numpy()
    wanted = np.eye(CLASSES)[data.train.labels.numpy()] - 1 / CLASSES
    np.testing.assert_allclose(method.targets.numpy(), np.linalg.pinv(answering) @ wanted, rtol=1e-3, atol=1e-5)
    assert method.updates == 0 and method.total == 1
    assert torch.equal(method.images.detach(), method_in().images.detach()), "the images stay as they are"


@pytest.mark.parametrize("labels", ["fixed", "learnt", "solved"])
def test_resumed_between_any_two_units_it_gives_the_same_bits(labels):
    def again():
        return method_in(labels=labels)

    whole = run(again())
    for stops in (set(range(1, whole.total)), {3}, {whole.total - 1}):
        stopped = run(again(), stops, again)
        assert torch.equal(whole.images, stopped.images) and torch.equal(whole.targets, stopped.targets)
        assert whole.cost() == stopped.cost()


def test_learning_lowers_the_loss_on_images_it_never_saw():
    method = method_in(iterations=40, batch_real=12)
    unseen = noise_set(40).train  # of which the first 36 labels are those of the first images
    images, labels = method.problem.data.encode(unseen.images[:36]), unseen.labels[:36]

    @torch.no_grad()
    def loss():
        return float((method._predictions(images) - method.problem.centred(labels)).square().mean())

    before = loss()
    run(method)
    assert loss() < 0.9 * before


def test_the_result_says_what_it_is_and_survives_a_file(tmp_path):
    made = run(method_in(labels="learnt")).result()
    assert made.labels.tolist() == [c for c in range(CLASSES) for _ in range(IPC)]
    assert made.targets.shape == (CLASSES * IPC, CLASSES) and made.images.shape[1:] == (3, SIZE, SIZE)
    made.save(tmp_path / FILE)
    found = DistilledSet.load(tmp_path / FILE)
    assert found.kind == made.kind and torch.equal(found.targets, made.targets) and found.space.same(made.space)


def test_guidance_joins_the_images_gradient(tmp_path):
    guided = method_in({"alpha": 1.0, "guidance": {**GUIDANCE, "scale": "relative"}})
    guidance = Guidance(guided.problem, pool_in(tmp_path))
    guided.advance()
    alone = guided.images.grad.clone()
    guidance.add_gradient(guided, 0)
    added = guided.images.grad - alone
    assert float(added.norm()) == pytest.approx(float(alone.norm()), rel=1e-4)


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    run(method_in(labels="solved"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_cost_counts_the_kernels_products():
    cost = run(method_in({"ipc": 4}, labels="solved", iterations=5)).cost().record()
    products = 3 * 5 * (7 * CLASSES + 12) + 36
    assert cost == {"images_forward": 0, "images_backward": 0, "gflop": round(2 * products * 12 * 192 / 1e9, 1)}


def test_what_cannot_work_is_refused_in_one_sentence():
    with pytest.raises(
        BadInput, match=r"^method\.kip .*0 iterations, which is for labels solved alone; give at least 1\.$"
    ):
        validate(Settings, {**SETTINGS["kip"], "iterations": 0}, "method.kip")
    with pytest.raises(BadInput, match=r"^method\.kip\.labels .* 'fixed', 'learnt' or 'solved'"):
        validate(Settings, {**SETTINGS["kip"], "labels": "free"}, "method.kip")
    method = method_in()
    with torch.no_grad():
        method.images[0] = torch.nan
    method.advance()  # which leaves it unread
    with pytest.raises(BadInput, match="^the kernel of 6 images is singular or not finite at ridge 1e-06: "):
        method.require_sound()


def test_every_class_gives_what_it_has(capsys):
    method = method_in({"data": uneven_set(2, 3, 12)})
    assert (
        "note: method.kip.batch_real is 7, but the dataset has fewer images of 'a' (2), 'b' (3)"
        in capsys.readouterr().err
    )
    loss = reference(method, method.images.detach().double(), method.targets.double(), 0)
    assert float(method.advance().metrics["loss"]) == pytest.approx(float(loss), rel=1e-6)
    assert method.batch == 2 + 3 + 7
