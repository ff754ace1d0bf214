"""Compiled methods and students against the same ones eager: what `method.compile` promises is rounding."""

from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from distillation import methods
from distillation.networks.build import build
from distillation.runtime import device
from distillation.runtime.random import generator
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import TrainSettings
from tests.helpers.data import ramp_set
from tests.helpers.methods import method_of, to_image_gradient
from tests.helpers.pools import experts_in, pool_in, seen_pool_in
from tests.helpers.training import SETTINGS

pytestmark = pytest.mark.slow  # seconds to a minute of C++ compiler each

WITHOUT = {"gaussian", "herding", "imported", "kcenter", "kip", "kmeans", "random"}  # they train no network
METHODS = {  # of each, what it takes to be built from a folder
    "dm": lambda folder: partial(method_of, "dm"),
    "dc": lambda folder: partial(method_of, "dc", network="ConvNetW4D1"),
    "dsa": lambda folder: partial(method_of, "dsa", network="ConvNetW4D1"),
    "apm": lambda folder: partial(method_of, "apm", pool_in(folder)),
    "sre2l": lambda folder: partial(method_of, "sre2l", seen_pool_in(folder)),
    "cda": lambda folder: partial(method_of, "cda", seen_pool_in(folder)),
    "scdd": lambda folder: partial(method_of, "scdd", seen_pool_in(folder)),
    "frepo": lambda folder: partial(method_of, "frepo"),
    "krr_st": lambda folder: partial(method_of, "krr_st", pool_in(folder, ("ConvNetW6D2BN",))),
    "mtt": lambda folder: partial(method_of, "mtt", experts_in(folder)),
}


@pytest.fixture
def graphs():
    """A function that counts what the compiler has made since the test began."""
    device.forget()
    counters.clear()
    yield lambda: counters["stats"]["unique_graphs"]
    device.forget()


def test_every_method_with_a_compiled_path_is_here():
    assert set(METHODS) == set(methods.names()) - WITHOUT


@pytest.mark.parametrize("name", METHODS)
def test_the_first_image_gradient_is_the_eager_one_to_rounding(name, tmp_path, graphs):
    make = METHODS[name](tmp_path)
    eager = to_image_gradient(make()).images.grad
    assert graphs() == 0
    compiled = to_image_gradient(make(compile=True)).images.grad
    assert graphs() > 0
    torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4 * float(eager.abs().max()))


def test_a_compiled_student_is_the_eager_one_to_rounding():
    data, weights = ramp_set(), {}

    def batch_of(index):
        return data.encode(data.train.images[index]), data.train.labels[index]

    for compiled in (False, True):
        network = build("ConvNetW4D1", 1, 8, 3, generator(0, "network"))
        settings = TrainSettings(**{**SETTINGS, "epochs": 2})
        made = Training(network, batch_of, 20, loss_of("ce"), settings, 0, "t", False, compile=compiled)
        while not made.done:
            made.advance()
        weights[compiled] = network.state_dict()
    for name, value in weights[False].items():
        torch.testing.assert_close(weights[True][name], value, rtol=1e-3, atol=1e-5)
