"""CUDA graphs without a card: what a graph's next step writes over is never read, and steps begin where they should.

`stand_in` takes the place of the compiler: a graphed function's outputs, and the gradients of its parameters, turn to
NaN where the next step begins. On a true card torch would raise, or the memory would hold other numbers.
"""

import weakref

import pytest
import torch
from torch import Tensor

from distillation import methods
from distillation.methods import mtt
from distillation.methods.driver import updates
from distillation.networks.build import build
from distillation.runtime import device, graphs
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import TrainSettings
from tests.helpers.card import DEVICE, pretended
from tests.helpers.data import CLASSES, ramp_set
from tests.helpers.methods import method_of
from tests.helpers.pools import experts_in, seen_pool_in
from tests.helpers.training import SETTINGS

GRAPHED = {  # method: its pool, its settings
    "dm": (None, {}),
    "dc": (None, {}),
    "dsa": (None, {}),
    "scdd": (seen_pool_in, {}),
    "sre2l": (seen_pool_in, {"crop": 0.0, "jitter": [0, 0]}),
    "cda": (seen_pool_in, {}),
    "mtt": (experts_in, {}),
}


@pytest.fixture
def stand_in(monkeypatch):
    """A list of what the compiler was asked for and when steps began: modes, and ``step``."""
    said, returned, modules = [], [], []

    def compile(function, *, dynamic, mode):
        said.append(mode)
        if isinstance(function, torch.nn.Module):
            modules.append(function)

        def call(*arguments):
            outputs = function(*arguments)
            pytree = torch.utils._pytree.tree_flatten(outputs)[0]
            returned.extend(weakref.ref(output) for output in pytree if isinstance(output, Tensor))
            return outputs

        return call

    def begin():
        said.append("step")
        gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
        for tensor in [*gradients, *(output() for output in returned)]:
            if tensor is not None:
                tensor.inner.fill_(torch.nan)
        returned.clear()

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", begin)
    return said


def distilled(method):
    """(its images at the end, what each of its units told)."""
    told = [unit.metrics for unit in updates(method)]
    return method.result().images, [{name: float(value) for name, value in metrics.items()} for metrics in told]


@pytest.mark.parametrize("name", GRAPHED)
def test_a_method_reads_nothing_of_a_graph_that_a_later_step_wrote_over(name, tmp_path, stand_in, monkeypatch):
    pool_of, settings = GRAPHED[name]
    monkeypatch.setattr(mtt, "traceable", lambda spec: False)  # by hand, mtt's eager steps have other roundings
    with pretended(monkeypatch):
        folder = pool_of(tmp_path).folder if pool_of else None
        pool = Pool(folder, DEVICE) if folder else None
        with monkeypatch.context() as patch:  # the same functions, and nothing is written over
            patch.setattr(torch, "compile", lambda function, **_: function)
            patch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
            images, told = distilled(method_of(name, pool, settings=settings, device=DEVICE, compile=True))
        assert stand_in == []
        pool = Pool(folder, DEVICE) if folder else None  # with networks of its own, which are compiled anew
        method = method_of(name, pool, settings=settings, device=DEVICE, compile=True)
        assert set(stand_in) == {"reduce-overhead"}
        stand_in.clear()
        graphed, told_graphed = distilled(method)
    assert stand_in == ["step"] * method.total
    assert told_graphed == told
    assert torch.equal(graphed.inner, images.inner)


def students(compile, monkeypatch):
    """(weights of a student after its training, what its epochs told)."""
    with pretended(monkeypatch):
        data = ramp_set().to(DEVICE)
        images, labels = data.encode(data.train.images), data.train.labels
        network = build("ConvNetW4D1BN", 1, 8, CLASSES, generator(0, "network")).to(DEVICE)
        settings = TrainSettings(**{**SETTINGS, "augment": "dsa"})
        training = Training(
            network, lambda index: (images[index], labels[index]), 20, loss_of("ce"), settings, 0, "t", False,
            compile=compile,
        )  # fmt: skip
        told = []
        while not training.done:
            told += training.advance() or ()
        return [value.inner for value in network.state_dict().values()], list(map(float, told)), training.step


def test_a_student_reads_nothing_of_a_graph_that_a_later_step_wrote_over(stand_in, monkeypatch):
    weights, told, _ = students(False, monkeypatch)
    assert stand_in == []
    graphed, told_graphed, steps = students(True, monkeypatch)
    assert stand_in == ["reduce-overhead", *["step"] * steps]
    assert told_graphed == told and len(told) == 2 * SETTINGS["epochs"]
    assert all(torch.equal(one, other) for one, other in zip(graphed, weights, strict=True))


def test_on_the_cpu_there_are_no_graphs_and_no_steps(stand_in):
    assert graphs.graphed(len, "cpu")("abc") == 3
    graphs.begin_step("cpu", compile=True)
    graphs.begin_step("cuda", compile=False)
    assert stand_in == [None]


def test_methods_of_many_networks_are_compiled_without_graphs(stand_in, tmp_path, monkeypatch):
    """A graph belongs to the weights of one network: each of a pool would be recorded anew."""
    with pretended(monkeypatch):
        method_of("frepo", device=DEVICE, compile=True)
    assert set(stand_in) == {None}


def test_every_method_whose_functions_are_graphed_is_here():
    assert set(GRAPHED) <= set(methods.names())
    sources = {name: (methods.load(name).METHOD.__mro__) for name in methods.names()}
    used = {
        name
        for name, classes in sources.items()
        if any("begin_step" in function.__code__.co_names for cls in classes for function in _functions(cls))
    }
    assert used == set(GRAPHED)


def _functions(cls):
    return [value for value in vars(cls).values() if hasattr(value, "__code__")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_student_on_a_card_is_the_same_with_graphs_and_without(monkeypatch):
    weights = {}
    for mode in (None, "reduce-overhead"):
        device.forget()
        monkeypatch.setattr(
            graphs, "compiled", lambda function, mode=mode: torch.compile(function, dynamic=False, mode=mode)
        )
        data = ramp_set().to("cuda")
        images, labels = data.encode(data.train.images), data.train.labels
        network = build("ConvNetW4D1BN", 1, 8, CLASSES, generator(0, "network")).to("cuda")
        batch_of = lambda index, x=images, y=labels: (x[index], y[index])  # noqa: E731
        training = Training(
            network, batch_of, 20, loss_of("ce"), TrainSettings(**SETTINGS), 0, "t", False, compile=True
        )
        while not training.done:
            training.advance()
        weights[mode] = [value.cpu() for value in network.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(*weights.values(), strict=True))
