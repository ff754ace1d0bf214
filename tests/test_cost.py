"""What methods cost: estimated from the parameters alone, and counted while they run."""

import pytest

from distillation import methods, params
from distillation.methods.base import Common, Method
from distillation.methods.cost import Cost, Outline
from distillation.networks.build import flops
from tests.helpers.clones import ROOT
from tests.helpers.methods import method_of, run
from tests.helpers.pools import experts_in, pool_in

SELECTING = {"gaussian", "herding", "imported", "kcenter", "kmeans", "random"}


@pytest.mark.parametrize("name", methods.names())
def test_every_method_estimates_its_cost(name):
    """A new method that does not fails here, and in `recipes show`, instead of passing for one that costs nothing."""
    module, given = methods.load(name), params.load(ROOT / "params.yaml")
    common = given.fields("method", Common).model_copy(update={"name": name, "ipc": 10, "alpha": 0.0})
    outline = Outline(shape=(1, 8, 10), count=1442, flip=False, teacher="ConvNetW8BN")
    cost = module.METHOD.estimate(common, given.section(f"method.{name}", module.Settings), outline)
    assert cost == Cost() if name in SELECTING else cost.flops > 0


def test_a_method_without_an_estimate_fails():
    with pytest.raises(NotImplementedError, match="Method must say what it costs"):
        Method.estimate(None, None, None)


EXACT = {
    "dm": lambda folder: method_of("dm"),
    "sre2l": lambda folder: method_of("sre2l", pool_in(folder, ("ConvNetW8D2BN",))),
    "frepo": lambda folder: method_of("frepo", settings={"batch_real": 12, "pool_steps": 100}),
    "kip": lambda folder: method_of("kip"),
    "kip solved": lambda folder: method_of("kip", settings={"labels": "solved"}),
    "mtt": lambda folder: method_of("mtt", experts_in(folder), settings={"batch_syn": 2}),
}
APPROXIMATE = {  # in the estimate: the images' second pass counts more, or what comes before the first update is left out
    "dc": (lambda folder: method_of("dc"), 1.4),
    "apm": (lambda folder: method_of("apm", pool_in(folder)), 1.1),
    "krr_st": (
        lambda folder: method_of(
            "krr_st",
            pool_in(folder, ("ConvNetW6D2BN",)),
            settings={"batch_real": 12, "iterations": 40, "pool_steps": 12},
        ),
        2,
    ),
}


def both(method):
    """The estimate of a method, and its Cost at its end."""
    data, pool = method.problem.data, method.problem.teachers
    teacher = pool.members[0].word if pool else ""
    outline = Outline(shape=data.shape, count=len(data.train), flip=data.info["flip"], teacher=teacher)
    return method.estimate(method.problem.settings, method.settings, outline), run(method).cost()


@pytest.mark.parametrize("name", EXACT)
def test_the_estimate_is_what_is_counted(name, tmp_path):
    estimate, cost = both(EXACT[name](tmp_path))
    assert estimate == cost and cost.record()["gflop"] == round(cost.flops / 1e9, 1)


@pytest.mark.parametrize("name", APPROXIMATE)
def test_the_estimate_is_near_what_is_counted(name, tmp_path):
    maker, factor = APPROXIMATE[name]
    estimate, cost = both(maker(tmp_path))
    for each in ("images_forward", "images_backward", "flops"):
        assert 1 / factor <= getattr(estimate, each) / getattr(cost, each) <= factor, each


def test_passes_and_their_sums():
    one = flops("ConvNetW8D2", 3, 8, 3)
    cost = Cost.of_passes(one, forward=5, backward=3, second=2) + Cost.of_passes(10, forward=7)
    assert cost == Cost(images_forward=12, images_backward=5, flops=(5 + 2 * 3 + 4 * 2) * one + 70)
