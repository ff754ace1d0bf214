"""Pools of teachers: what they take from the sections pool and objectives, and what is refused."""

import copy

import pytest

from distillation import checks, params
from distillation.params import Params
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.teachers.settings import PoolDefaults, merged, pool_settings
from tests.helpers.clones import ROOT

BASE = params.load(ROOT / "params.yaml").values
MOCO = {"source": "dataset", "objective": "moco_v2", "networks": ["ConvNet"]}


def given(pool, /, **sections):
    """The Params with this pool as ``more``, and values of other sections changed."""
    values = copy.deepcopy(BASE)
    values["teacher"]["more"] = pool
    for name, changes in sections.items():
        values[name] |= changes
    return Params(values)


def test_a_pool_takes_what_it_leaves_out_from_pool_and_its_objective():
    found = pool_settings(given(MOCO), "more")
    assert {key: getattr(found, key) for key in PoolDefaults.model_fields} == BASE["pool"]
    assert found.training.model_dump() == BASE["objectives"]["moco_v2"]


def test_what_a_pool_has_instead_changes_nothing_else():
    own = {"count": 3, "moco_v2": {"lr": 0.5, "probe": {"epochs": 7}, "knn": {"k": 1}}, "dino": {"epochs": 60}}
    found = pool_settings(given({**MOCO, **own}), "more")
    published = copy.deepcopy(BASE["objectives"]["moco_v2"])
    published["probe"]["epochs"] = 7
    assert found.training.model_dump() == published | {"lr": 0.5, "knn": published["knn"] | {"k": 1}}
    assert (found.count, found.seed) == (3, BASE["pool"]["seed"])


def test_a_pool_does_without_a_probe():
    pool = pool_settings(given({**MOCO, "moco_v2": {"probe": None}}), "more")
    assert pool.training.probe is None and not objectives.load("moco_v2").classifies(pool)


def test_a_pool_amounts_to_nothing_of_other_objectives():
    pool = {**MOCO, "dino": {"epochs": 60}, "seed": 4}
    assert merged(given(pool), "more") == BASE["pool"] | MOCO | {"seed": 4, "moco_v2": BASE["objectives"]["moco_v2"]}


def without(key):
    return {name: value for name, value in MOCO.items() if name != key}


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        *(
            (without(key), f"teacher.more lacks {key}: a pool names its source, objective and networks.")
            for key in MOCO
        ),
        (None, "teacher.more must be a section with source, objective, networks and what differs, not None."),
        (MOCO | {"objective": "simclr"}, "teacher.more.objective is 'simclr', but the objectives are barlow_twins, "),
        (MOCO | {"probe": None}, "teacher.more.probe is not a setting; teacher.more has source, objective, networks, "),
        (MOCO | {"count": 0}, "teacher.more.count is 0, but should be greater than or equal to 1."),
        (MOCO | {"networks": ["A", "A"]}, "teacher.more.networks is ['A', 'A'], but should name each entry once."),
        (MOCO | {"moco_v2": None}, "teacher.more.moco_v2 must be a section with epochs, "),
        (MOCO | {"moco_v2": {"lr": 0.0}}, "teacher.more.moco_v2.lr is 0.0, but should be greater than 0."),
        (MOCO | {"moco_v2": {"lear": 1}}, "teacher.more.moco_v2.lear is not a setting; teacher.more.moco_v2 has "),
        (MOCO | {"moco_v2": {"warmup": 200}}, "teacher.more.moco_v2 has a warmup of 200 epochs"),
        (MOCO | {"moco_v2": {"probe": {"epoch": 1}}}, "teacher.more.moco_v2.probe.epoch is not a setting"),
        (MOCO | {"moco_v2": {"splits": 3}}, "teacher.more.moco_v2.splits is 3, but should divide moco_v2.batch"),
        (MOCO | {"dino": {"lr": 0.0}}, "teacher.more.dino.lr is 0.0, but should be greater than 0."),
        (MOCO | {"source": "sources/a"}, "teacher.more.source is 'sources/a', but there are only dataset."),
    ],
)
def test_a_pool_that_cannot_be_is_one_sentence(pool, sentence):
    with pytest.raises(BadInput) as refused:
        checks.check_all(given(pool))
    assert str(refused.value).startswith(sentence) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("section", "changes", "sentence"),
    [
        ("pool", {"seed": -1}, "pool.seed is -1, but should be greater than or equal to 0."),
        ("pool", {"networks": []}, "pool.networks is not a setting; pool has count, seed, keep, precision, compile."),
        ("pool", {"keep": ["last", "last"]}, "pool.keep is ['last', 'last'], but should name each entry once."),
        ("objectives", {"simclr": {}}, "objectives has no setting 'simclr'; it has barlow_twins, dino, "),
        ("objectives", {"dino": {}}, "objectives.dino.epochs is missing."),
        ("objectives", {"swav": None}, "objectives.swav must be a section with epochs, "),
        ("objectives", {"dino": BASE["objectives"]["dino"] | {"rate": 1}}, "objectives.dino.rate is not a setting; "),
    ],
)
def test_sections_that_no_pool_uses_must_be_sound_too(section, changes, sentence):
    with pytest.raises(BadInput) as refused:
        checks.check_all(given(BASE["teacher"]["main"], **{section: changes}))
    assert str(refused.value).startswith(sentence) and "\n" not in str(refused.value)


def test_an_objective_without_its_section_is_refused():
    params = given(MOCO)
    del params.values["objectives"]["dino"]
    with pytest.raises(BadInput, match=r"^objectives lacks 'dino'\.$"):
        checks.check_all(params)


def noted(main):
    values = copy.deepcopy(BASE)
    values["dataset"]["name"] = "cifar10"
    values["teacher"]["main"] |= main
    return [note.split()[0] for note in checks.notes(Params(values)) if note.startswith("teacher.")]


def test_what_is_sized_for_digits_is_noted_where_it_is_used():
    sized = [f"teacher.main.{key}" for key in ("networks", "supervised.epochs", "supervised.batch", "supervised.lr")]
    assert noted({}) == sized
    assert noted({"objective": "moco_v2"}) == sized[:1]
    assert noted({"networks": ["ConvNet"], "supervised": {"batch": 64}}) == sized[2:3]
