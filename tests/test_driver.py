"""The loop that brings every method to its end."""

import doctest

import pytest
import torch

from distillation.methods import driver
from distillation.methods.dm import DM as Method
from distillation.methods.dm import Settings
from distillation.methods.driver import updates
from distillation.methods.guidance import Guidance
from tests.helpers.methods import SETTINGS, method_of
from tests.helpers.pools import pool_in


def test_a_notebook_distils_as_the_docstring_says():
    problem = method_of("dm").problem
    known = {"DM": Method, "problem": problem, "settings": Settings(**SETTINGS["dm"]), "updates": updates}
    (test,) = (t for t in doctest.DocTestFinder().find(driver, globs=known) if t.examples)
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
    assert len(test.globs["losses"]) == SETTINGS["dm"]["iterations"]
    assert test.globs["distilled"].images.shape == test.globs["method"].images.shape


@pytest.mark.parametrize("guided", [False, True])
def test_it_is_the_loop_written_out(tmp_path, guided):
    pool = pool_in(tmp_path)
    methods = [method_of("dm", pool, alpha=30.0) for _ in range(2)]
    first, second = (Guidance(method.problem, pool) if guided else None for method in methods)
    units = list(updates(methods[0], first))
    for count, unit in enumerate(units, 1):
        metrics = methods[1].advance().metrics
        if guided:
            metrics = {**metrics, "guidance": second.add_gradient(methods[1], count - 1)}
        methods[1].apply()
        assert (unit.updates, unit.updated, unit.metrics) == (count, True, metrics)
    assert methods[0].at == methods[0].total == len(units)
    assert torch.equal(methods[0].images, methods[1].images)


def test_units_that_update_nothing_are_told_apart():
    units = list(updates(method_of("dc")))
    assert [unit.updates for unit in units if unit.updated] == [1, 2, 3, 4]
    assert [unit.updates for unit in units if not unit.updated] == [1] * 2 + [3] * 2  # two steps between two updates


def test_guidance_goes_on_with_the_draws_of_an_earlier_run(tmp_path):
    pool, words = pool_in(tmp_path, ("ConvNetW8D2", "ConvNetW4D2")), {"ConvNetW8D2": 3.0, "ConvNetW4D2": 50.0}
    whole, stopped, resumed = (method_of("dm", pool, alpha=words) for _ in range(3))
    for _ in updates(whole, Guidance(whole.problem, pool)):
        pass
    for unit in updates(stopped, Guidance(stopped.problem, pool)):
        if unit.updates == 4:
            break
    resumed.load_state_dict(stopped.state_dict())
    rest = list(updates(resumed, Guidance(resumed.problem, pool), start=unit.updates))
    assert [each.updates for each in rest] == [5, 6] and torch.equal(resumed.images, whole.images)
