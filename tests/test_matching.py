"""DC and DSA against a plain float64 loop, finite differences, resumed at every unit, and refusing what has no meaning."""

import copy

import pytest
import torch
import torch.nn.functional as F

from distillation.augment.siamese import apply, augment_batch, draw
from distillation.methods.driver import updates
from distillation.methods.families.gradient_distances import DISTANCES, SETTLING
from distillation.methods.families.matching import LOOPS, Settings, image_gradient, loops
from distillation.networks.build import build
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from tests.helpers.data import CLASSES, IPC, uneven_set
from tests.helpers.methods import COMMON, MATCHING, method_of

NESTED = {**MATCHING, "outer": 3, "inner": 2}
NETWORKS = ["ConvNetW8D2", "ConvNetW8D2BN", "ConvNetW4D1LN", "MLP"]


def matching(name, data=None, settings=None, **common):
    return method_of(name, data=data, settings={**NESTED, **(settings or {})}, **common)


def plain_distance(kind, ours, real):
    """As section 2.2 of DC and its official code read, output by output."""
    if kind == "per_output":
        total = 0
        for a, b in zip(ours, real, strict=True):
            if a.ndim > 1:
                for i in range(len(a)):
                    total = total + 1 - a[i].flatten() @ b[i].flatten() / (a[i].norm() * b[i].norm() + 1e-6)
        return total
    a, b = torch.cat([x.flatten() for x in ours]), torch.cat([x.flatten() for x in real])
    return (a - b) @ (a - b) if kind == "mse" else 1 - a @ b / (a.norm() * b.norm() + 1e-6)


def gradient(network, images, labels, **how):
    return torch.autograd.grad(F.cross_entropy(network(images), labels), list(network.parameters()), **how)


class Plain:
    """The published loop in float64 with autograd alone, class by class and step by step, on the method's own draws."""

    def __init__(self, method):
        self.method, self.problem, self.settings = method, method.problem, method.settings
        self.images = method.images.detach().double()
        self.velocity = torch.zeros_like(self.images)
        self.labels = torch.arange(CLASSES).repeat_interleave(IPC)

    def real(self, index):
        data = self.problem.data
        mean, std = (data.space.tensors[k].double().view(1, 3, 1, 1) for k in ("mean", "std"))
        return (data.train.images[index].double() / 255 - mean) / std

    def run(self):
        """Images after every update."""
        s, draws_of, made = self.settings, self.problem.draws, []
        for iteration in range(s.iterations):
            draws = draws_of("network", iteration)
            network = build(self.problem.settings.network, *self.problem.data.shape, draws).double()
            for outer in range(s.outer):
                self.update(network, draws_of("update", iteration, outer))
                made.append(self.images.clone())
                if outer < s.outer - 1:
                    self.train(network, iteration, outer)
        return made

    def update(self, network, draws):
        if any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()):
            network.train()
            with torch.no_grad():
                network(self.real(torch.cat(self.problem.batch(min(SETTLING, 7), draws))))
            network.eval()
        chosen = self.problem.batch(7, draws)
        ops, numbers = draw(self.method.strategy, CLASSES, 1, draws)
        images, loss = self.images.clone().requires_grad_(), 0
        for c in range(CLASSES):

            def seen(x, c=c):
                return apply(x, self.method.strategy, ops[c].expand(len(x)), numbers[c].double().expand(len(x), -1))

            labels = torch.full((len(chosen[c]),), c)
            real = [g.detach() for g in gradient(network, seen(self.real(chosen[c])), labels)]
            mine = seen(images[c * IPC : (c + 1) * IPC])
            ours = gradient(network, mine, labels[:IPC], create_graph=True)
            loss = loss + plain_distance(self.settings.distance, ours, real)
        self.velocity = self.settings.momentum * self.velocity + torch.autograd.grad(loss, images)[0]
        self.images = self.images - self.settings.lr_img * self.velocity

    def train(self, network, iteration, outer):
        network.train()
        step, batch = 0, self.settings.batch_train
        for epoch in range(self.settings.inner):
            order = torch.randperm(len(self.images), generator=self.problem.draws("order", iteration, outer, epoch))
            for index in order.split(batch):
                draws = self.problem.draws("augment", iteration, outer, step)
                seen = augment_batch(self.images[index], self.method.strategy, draws)
                with torch.no_grad():
                    for p, g in zip(
                        network.parameters(),
                        torch.enable_grad()(gradient)(network, seen, self.labels[index]),
                        strict=True,
                    ):
                        p -= self.settings.lr_net * g
                step += 1


def doubled(method):
    """The method in float64: images, network and real data."""
    method.images.data = method.images.data.double()
    method.network.double()
    real = method.problem.real
    method.problem.real = lambda index: real(index).double()
    return method


def follows_the_plain_loop(method):
    """Runs a method in float64 to its end and compares the images after each update with those of Plain."""
    encode = type(method.problem.data).encode
    plain = Plain(method)
    plain.real = lambda index: encode(method.problem.data, method.problem.data.train.images[index]).double()
    expected = plain.run()
    for unit in updates(method):
        if unit.updated:
            torch.testing.assert_close(method.images.detach(), expected[unit.updates - 1], rtol=1e-9, atol=1e-9)
    assert unit.updates == len(expected) == method.updates


@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_updates_are_those_of_the_plain_loop(name, network, distance):
    follows_the_plain_loop(doubled(matching(name, network=network, settings={"distance": distance})))


def test_single_precision_follows_the_plain_loop():
    method = matching("dsa")
    expected = Plain(method).run()
    for _ in updates(method):
        pass
    torch.testing.assert_close(method.images.detach().double(), expected[-1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_image_gradient_agrees_with_finite_differences(distance):
    network = build("ConvNetW4D1ASwish", 1, 4, 3, generator(0, "n")).double()
    draws = generator(0, "images")
    images, labels = torch.rand(2, 1, 4, 4, dtype=torch.float64, generator=draws), torch.tensor([1, 1])
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    real = gradient(network, torch.rand(5, 1, 4, 4, dtype=torch.float64, generator=draws), torch.ones(5).long())
    of = image_gradient(network, DISTANCES[distance], "fp32")
    found, _ = of(images, parameters, {}, labels, real)
    for at in [(0, 0, 1, 1), (1, 0, 3, 2), (0, 0, 0, 3)]:
        moved = [images.clone(), images.clone()]
        moved[0][at] += 1e-5
        moved[1][at] -= 1e-5
        up, down = (of(each, parameters, {}, labels, real)[1] for each in moved)
        assert float(found[at]) == pytest.approx(float((up - down) / 2e-5), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize("network", ["ConvNetW8D2", "ConvNetW8D2BN"])
def test_resumed_at_any_unit_gives_the_same_bits(name, network):
    whole, states = matching(name, network=network), []
    while whole.at < whole.total:
        states.append(copy.deepcopy(whole.state_dict()))
        next(updates(whole))
    assert len(states) == 2 * (3 + 2 * 2 * 2)  # iterations × (updates + gaps × epochs × steps)
    for state in states:
        resumed = matching(name, network=network)
        resumed.load_state_dict(state)
        for _ in updates(resumed):
            pass
        assert torch.equal(resumed.images, whole.images)


def test_chunks_differ_to_rounding_only():
    gradients = []
    for chunk in (2, 3, 1000):
        method = matching("dc", chunk=chunk)
        method.advance()
        gradients.append(method.images.grad)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-3, atol=1e-5)


def test_auto_is_the_published_table():
    assert LOOPS == {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
    auto = Settings(**{**NESTED, "outer": "auto", "inner": "auto"})
    for ipc, (outer, inner) in LOOPS.items():
        common = method_of("random", ipc=1).problem.settings.model_copy(update={"ipc": ipc, "name": "dc"})
        assert loops(common, auto) == (outer, inner)
        assert loops(common, Settings(**{**NESTED, "outer": 3, "inner": "auto"})) == (3, inner)


def test_auto_without_a_published_number_is_refused():
    with pytest.raises(
        BadInput, match=r"method.dc.outer and inner are auto, which 1, 10, .* but method.ipc is 2: give both"
    ):
        matching("dc", settings={"outer": "auto"})


def test_a_strategy_that_dc_would_ignore_is_refused():
    with pytest.raises(BadInput, match="method.augment is color_crop, but dc matches images as they are: use dsa"):
        matching("dc", augment="color_crop")


def test_vectors_are_left_out_and_layer_norms_are_not():
    a = [torch.ones(4, 2), torch.ones(4), torch.ones(3, 2, 2)]
    b = [torch.ones(4, 2), -torch.ones(4), -torch.ones(3, 2, 2)]
    assert float(DISTANCES["per_output"](a, b)) == pytest.approx(2 * 3, abs=1e-4)


@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize("network", ["ConvNetW8D2", "ConvNetW8D2BN"])
def test_every_class_gives_what_it_has(name, network, capsys):
    """With 2, 3 and 12 images and a batch of 7, the classes give 2, 3 and 7, in the plain loop too."""
    method = doubled(matching(name, data=uneven_set(2, 3, 12), network=network))
    said = capsys.readouterr().err
    assert said == (
        f"note: method.{name}.batch_real is 7, but the dataset has fewer images of 'a' (2), 'b' (3): these give all that "
        "they have.\n"
    )
    follows_the_plain_loop(method)
    settled = (2 + 3 + 7) * method.updates if "BN" in network else 0
    real = (2 + 3 + 7) * method.updates
    trained = method.settings.iterations * 2 * 2 * CLASSES * IPC  # gaps, epochs
    assert method.cost().record()["images_forward"] == real + settled + method.updates * CLASSES * IPC + trained


def test_cost_counts_every_pass():
    method = matching("dc", settings={"iterations": 1})
    for _ in updates(method):
        pass
    cost, images = method.cost().record(), CLASSES * IPC
    assert cost["images_forward"] == 3 * (7 * CLASSES + images) + 2 * 2 * images
    assert COMMON["chunk"] < 7  # so that the real batch went through in parts
