"""Numbers that are no longer finite: every loop stops at its next record, and keeps no checkpoint that leads there again."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from distillation import methods
from distillation.compare.accuracies import cell
from distillation.data.distilled import DistilledSet
from distillation.evaluation import cells, classify, kd, only, pretrain, transfer
from distillation.evaluation.sets import FromFile, Noise, random_choice
from distillation.evaluation.settings import HardSettings
from distillation.evaluation.transfer_settings import Distilling, Finetune, Linear, SoftSettings
from distillation.methods import work
from distillation.methods.base import Common, ImageMethod
from distillation.params import Compute, Section
from distillation.recipes.results import Result
from distillation.report import tables
from distillation.runtime import stage
from distillation.runtime.errors import Diverged, guarded, require_finite
from distillation.runtime.files import load_json
from distillation.runtime.work import Task
from distillation.teachers import objectives
from distillation.teachers.objective import Job
from distillation.teachers.pool import FILE
from distillation.teachers.settings import PoolSettings
from distillation.training.settings import LabelSettings
from tests.helpers.data import RECORD, noise_set, ramp_set
from tests.helpers.kills import killed_at
from tests.helpers.methods import COMMON, GUIDANCE, NETWORKS, SETTINGS
from tests.helpers.parameters import product_params
from tests.helpers.pools import EXPERTS, experts_in, pool_in, seen_pool_in, settings_of
from tests.helpers.selfsupervised import PROBE, pool_settings_of

torch.set_num_threads(1)
pytestmark = pytest.mark.usefixtures("own_root")
COMPUTE = Compute(device="cpu", locks="auto", workers=1, threads=1, group=1, checkpoint=0.0)
STATE = "state.safetensors"


@pytest.fixture
def spoilt(monkeypatch):
    """A function of n: the n-th step of any optimiser from now on, and none before, leaves what is not a number."""
    hooks = []

    def remove():
        while hooks:
            hooks.pop().remove()

    def after(steps):
        remove()
        count = [0]

        def spoil(optimizer, *_):
            count[0] += 1
            if count[0] == steps:
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.data.fill_(math.nan)

        hooks.append(register_optimizer_step_post_hook(spoil))

    monkeypatch.setattr(Task, "due", lambda task: True)  # a checkpoint after every unit
    yield after
    remove()


def sentence(works, jobs, modules=()):
    """The sentence in which the stage of some jobs ends; no task of theirs has kept a checkpoint or a result."""
    with pytest.raises(Diverged) as raised, stage.finished(works, jobs, COMPUTE, modules):
        pass
    for task in stage.tasks_of(works, jobs, COMPUTE, modules):
        assert task.folder.is_dir() and task.finished() is None
        assert not (task.folder / STATE).exists(), "it would resume into what is not finite"
    return str(raised.value)


# Distillation


def distilling(name, tmp_path, pool=None, settings=None, **common):
    """The job of a method on `noise_set`."""
    noise_set().save(tmp_path / "real")
    module = methods.load(name)
    shared = {**COMMON, "name": name, "network": NETWORKS.get(name, COMMON["network"]), **common}
    return work.Job(
        data=tmp_path / "real",
        teachers=pool and pool.folder / FILE,
        guides=pool.folder / FILE if common else None,
        read=(),
        shard=0,
        common=Common(**shared),
        settings=module.Settings(**{**SETTINGS[name], **(settings or {})}),
    )


KERNEL = r"the kernel of \d+ images is singular or not finite at ridge 1e-06: .*"
LOST = {  # method: (its pool, the step of an optimiser that spoils, how the sentence goes on)
    "dm": (None, 1, r"loss is nan at update 2 of 6: lower method\.dm\.lr_img\."),
    "dc": (None, 1, r"loss is nan at update 2 of 4: lower method\.dc\.lr_img or method\.dc\.lr_net\."),
    "dsa": (None, 1, r"loss is nan at update 2 of 4: lower method\.dsa\.lr_img or method\.dsa\.lr_net\."),
    "scdd": (seen_pool_in, 1, r"loss is nan at update 2 of 8: lower method\.scdd\.lr\."),
    "apm": (pool_in, 1, r"update 1: the student's loss is nan at epoch 3 of 3: lower method\.apm\.lr_net\."),
    "mtt": (
        experts_in,
        1,
        r"update 1: the learning rate .* is nan, not above 0: lower method\.mtt\.lr_lr or .*lr_img\.",
    ),
    "frepo": (None, 1, rf"update 2: {KERNEL}"),
    "kip": (None, 1, rf"update 2: {KERNEL}"),
    "krr_st": (pool_in, -1, rf"update \d: {KERNEL}"),
}


@pytest.mark.parametrize("name", LOST)
def test_a_distillation_stops_at_its_next_record(tmp_path, spoilt, name):
    pool_of, step, told = LOST[name]
    pool = pool_of(tmp_path / "pool") if pool_of else None
    if step > 0:
        spoilt(step)
    job = distilling(name, tmp_path, pool, settings={"lr": 1e9} if step < 0 else None)
    said = sentence(work.distill, {f"distill {name}": job}, (methods.load(name).__name__,))
    assert re.fullmatch(rf"distill {name}: {told}", said), said


def test_a_loss_that_is_infinite_at_the_second_of_many_updates_ends_the_run_there(tmp_path, monkeypatch):
    monkeypatch.setattr(Task, "due", lambda task: True)
    advance, seen = methods.load("dm").METHOD.advance, []

    def infinite(method):
        step = advance(method)
        seen.append(method.at)
        return replace(step, metrics={"loss": torch.tensor(math.inf)}) if method.at >= 2 else step

    monkeypatch.setattr(methods.load("dm").METHOD, "advance", infinite)
    job = distilling("dm", tmp_path, settings={"iterations": 200})
    said = sentence(work.distill, {"distill dm": job}, (methods.load("dm").__name__,))
    assert said == "distill dm: loss is inf at update 2 of 200: lower method.dm.lr_img."
    assert seen == [1, 2]


def test_with_guidance_alpha_is_among_what_to_lower(tmp_path, spoilt):
    spoilt(1)
    pool = pool_in(tmp_path / "pool")
    job = distilling("dm", tmp_path, pool, alpha=1.0, guidance={**GUIDANCE, "teacher": "main"})
    said = sentence(work.distill, {"distill dm": job}, (methods.load("dm").__name__,))
    assert said.endswith("lower method.dm.lr_img or method.alpha.")


def test_images_that_only_the_last_update_spoils_are_found_at_the_end(tmp_path, spoilt):
    spoilt(6)
    said = sentence(work.distill, {"distill dm": distilling("dm", tmp_path)}, (methods.load("dm").__name__,))
    assert said == "distill dm: the images are not finite at the end: lower method.dm.lr_img."


def test_every_method_that_optimises_has_a_rate_to_lower():
    found = {}
    for name in methods.names():
        module = methods.load(name)
        if issubclass(module.METHOD, ImageMethod) or module.METHOD.guided:
            settings = module.Settings(**SETTINGS[name])
            found[name] = work.rates(Common(**{**COMMON, "name": name}), settings)
    assert {"dm", "apm", "mtt", "kip", "cda"} <= set(found)
    for name, text in found.items():
        assert text.startswith(f"method.{name}.") and "lr" in text


def test_what_went_before_a_checkpoint_of_nan_is_not_resumed(tmp_path, spoilt):
    job = distilling("dm", tmp_path, settings={"iterations": 1500})  # a record every third update
    modules = (methods.load("dm").__name__,)
    (task,) = stage.tasks_of(work.distill, {"distill dm": job}, COMPUTE, modules)
    spoilt(1)
    with (
        killed_at(lambda state: state["method"]["at"] == 2),
        stage.finished(work.distill, {"distill dm": job}, COMPUTE, modules),
    ):
        pass
    assert (task.folder / STATE).is_file()  # of update 2: what it holds is not a number
    spoilt(1)  # whether the run goes on from there or begins anew
    said = sentence(work.distill, {"distill dm": job}, modules)
    assert said == "distill dm: loss is nan at update 3 of 1500: lower method.dm.lr_img."


# Teachers


def teaching(tmp_path, settings: PoolSettings):
    """The one job of a pool on `ramp_set`, by its label, and the function that does it."""
    ramp_set(per_class=12).save(tmp_path / "real")
    word = settings.networks[0]
    job = Job(data=tmp_path / "real", settings=settings.of_one(word), network=word, index=0)
    return objectives.load(settings.objective).make, {f"teacher main {word} 0": job}


SELF_SUPERVISED = ("moco_v2", "moco_v3", "swav", "dino", "barlow_twins")


@pytest.mark.parametrize("objective", ["supervised", "trajectory", *SELF_SUPERVISED])
def test_a_teacher_stops_after_its_epoch(tmp_path, spoilt, objective):
    if objective in SELF_SUPERVISED:
        settings = pool_settings_of(objective)
    else:
        settings = settings_of({**EXPERTS, "objective": objective, objective: EXPERTS["trajectory"]})
    make, jobs = teaching(tmp_path, settings)
    spoilt(1)
    said = sentence(make, jobs, (f"{objectives.__name__}.{objective}",))
    (label,), epochs = jobs, settings.training.model_dump()["epochs"]
    assert said == f"{label}: loss is nan at epoch 1 of {epochs}: lower objectives.{objective}.lr."


def test_a_probe_stops_after_its_epoch(tmp_path, spoilt):
    settings = pool_settings_of("moco_v2", change={"probe": {**PROBE, "batch": 4}})
    make, jobs = teaching(tmp_path, settings)
    spoilt(2 * (36 // 16) + 1)  # after the two epochs of pre-training: 36 images in batches of 16
    said = sentence(make, jobs, (f"{objectives.__name__}.moco_v2",))
    assert said.endswith(": the probe's loss is nan at epoch 1 of 3: lower objectives.moco_v2.probe.lr.")


# Networks of an evaluation

SMALL = {  # of the product's settings, what makes them small: a step is an epoch of a student
    "evaluate.standard.hard": {"epochs": 40, "batch": 12},
    "evaluate.pretrain.hard": {"epochs": 40, "batch": 12, "augment": "none"},
    "evaluate.pretrain.soft": {"steps": 400, "warmup": 3, "batch": 12, "augment": "none"},
    "evaluate.transfer.finetune": {"steps": 400, "batch": 10},
    "evaluate.transfer.linear": {"steps": 400, "batch": 10},
    "evaluate.kd": {"epochs": 200, "batch": 4, "augment": "none"},
}


def settings_at(path: str, schema: type[Section]) -> Any:
    """The product's section at ``path``, made small, in a ``schema`` of some or all of its keys."""
    params = product_params({f"{path}.{key}": value for key, value in SMALL[path].items()})
    return params.fields(path, schema)


def students(tmp_path, seeds=3, **protocol):
    """The jobs of students of random images of `ramp_set`, one for each seed, and the cells that they fill."""
    data = ramp_set()
    data.save(tmp_path / "real")
    rows = [
        cells.Cell(set="random", draw=seed, source=random_choice(data, 4, seed), network="ConvNetW4D1", seed=seed)
        for seed in range(seeds)
    ]
    protocol = {"test_every": 0, **protocol}
    training = classify.Protocol(
        kind="hard",
        settings=settings_at("evaluate.standard.hard", HardSettings),
        precision="fp32",
        compile=False,
        **protocol,
    )
    return rows, cells.jobs("baseline@standard", rows, training, tmp_path / "real", data, COMPUTE)


def test_one_student_of_many_ends_early_and_stands_in_the_table(tmp_path, spoilt, capsys):
    rows, jobs = students(tmp_path)
    spoilt(42)  # the second student's second step: a step is an epoch here
    (tmp_path / "out").mkdir()
    with stage.finished(classify.train, jobs, COMPUTE) as tasks:
        cells.write(tmp_path / "out", rows, tasks, ramp_set().classes, {})
        records = [load_json(task.done / classify.RECORD) for task in tasks]
    assert [record["steps"] for record in records] == [40, 3, 40]
    told = "loss is nan at epoch 3 of 40: lower the learning rate of its protocol."
    assert f"baseline@standard random 1 ConvNetW4D1 1: {told}" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "out/rows.csv")
    assert table["loss"].map(math.isfinite).tolist() == [True, False, True]
    assert table["accuracy"][1] == pytest.approx(100 / 3, abs=1e-3), (
        "that of a network that says one class of all images"
    )
    (line,) = tables.lines_of(tables.summary(table))
    assert (line.n, line.diverged, line.mean) == (3, 1, pytest.approx(table["accuracy"].mean()))
    assert records[1]["gflop"] <= records[0]["gflop"]


def test_a_student_that_diverged_is_the_same_after_an_interruption_and_alone(tmp_path, spoilt, capsys):
    _, jobs = students(tmp_path, seeds=1, test_every=1)
    (job,) = jobs.values()
    plain = Task.of("plain", {}, 0.0)
    spoilt(2)
    classify.train(job, plain, "cpu")
    (task,) = stage.tasks_of(classify.train, jobs, COMPUTE)
    spoilt(2)
    with killed_at(lambda state: state["training"]["step"] == 2):
        classify.train(job, task, "cpu")
    spoilt(2)  # as above
    classify.train(job, task, "cpu")
    texts = [(each.done / classify.RECORD).read_text() for each in (plain, task)]
    assert texts[0] == texts[1] and '"loss": NaN' in texts[0]
    assert load_json(plain.done / classify.RECORD)["best_test"] >= 100 / 3
    capsys.readouterr()
    spoilt(2)
    only.train("ConvNetW4D1/0", jobs, COMPUTE)
    assert "The same as its row" in capsys.readouterr().out


CARRIED: dict[str, type[Section]] = {"finetune": Finetune, "linear": Linear}
SHARED = {"network": "ConvNetW4D1", "seed": 0, "precision": "fp32", "compile": False}


@pytest.mark.parametrize("protocol", CARRIED)
def test_a_transfer_ends_at_its_next_record(tmp_path, spoilt, capsys, protocol):
    ramp_set().save(tmp_path / "real")
    job = transfer.Job(
        data=tmp_path / "real",
        start=None,
        protocol=protocol,
        settings=settings_at(f"evaluate.transfer.{protocol}", CARRIED[protocol]),
        **SHARED,
    )
    task = Task.of("transfer", {}, 0.0)
    spoilt(5)
    transfer.transfer(job, task, "cpu")
    record = load_json(task.done / transfer.RECORD)
    assert record["steps"] == 8 and math.isnan(record["loss"])  # a loss is read every fourth step
    told = f"transfer: loss is nan at step 8 of 400: lower evaluate.transfer.{protocol}.lr.\n"
    assert capsys.readouterr().err.endswith(told)


def test_knowledge_distillation_ends_at_its_next_record(tmp_path, spoilt, capsys):
    noise_set().save(tmp_path / "real")
    pool = pool_in(tmp_path / "pool")
    job = kd.Job(
        data=tmp_path / "real",
        teachers=pool.folder / FILE,
        images_from=tmp_path / "real",
        source=Noise(8),
        kind=None,
        start=None,
        settings=settings_at("evaluate.kd", Distilling),
        **SHARED,
    )
    task = Task.of("kd", {}, 0.0)
    spoilt(5)
    kd.distill_knowledge(job, task, "cpu")
    assert load_json(task.done / kd.RECORD)["steps"] == 8
    assert capsys.readouterr().err.endswith("kd: loss is nan at step 8 of 400: lower evaluate.kd.lr_gaussian.\n")


PRETRAINED = {"hard": (LabelSettings, "epoch 3 of 40"), "soft": (SoftSettings, "step 4 of 400")}


@pytest.mark.parametrize("kind", PRETRAINED)
def test_pre_training_ends_early_and_what_is_built_on_it_too(tmp_path, spoilt, capsys, kind):
    data = ramp_set()
    data.save(tmp_path / "real")
    schema, moment = PRETRAINED[kind]
    source = random_choice(data, 4, 0)
    if kind == "soft":  # real images have hard labels: a set with soft ones
        source = _soft_set(tmp_path, data)
    settings = settings_at(f"evaluate.pretrain.{kind}", schema)
    job = pretrain.Job(data=tmp_path / "real", source=source, kind=kind, settings=settings, **SHARED)
    start = Task.of("pretrain", {}, 0.0)
    spoilt(2)
    pretrain.pretrain(job, start, "cpu")
    assert f"pretrain: loss is nan at {moment}: lower evaluate.pretrain.{kind}.lr.\n" in capsys.readouterr().err
    later = transfer.Job(
        data=tmp_path / "real",
        start=start,
        protocol="finetune",
        settings=settings_at("evaluate.transfer.finetune", Finetune),
        **SHARED,
    )
    task = Task.of("transfer", {}, 0.0)
    transfer.transfer(later, task, "cpu")
    record = load_json(task.done / transfer.RECORD)
    assert record["steps"] == 4 and math.isnan(record["loss"])


def _soft_set(tmp_path: Path, data):
    labels = torch.arange(12) % 3
    info = {**RECORD, "labels": "soft"}
    DistilledSet(torch.randn(12, 1, 8, 8), labels, torch.eye(3)[labels], data.space, info).save(tmp_path / FILE)
    return FromFile(tmp_path / FILE)


# What is said


def test_the_first_value_that_is_not_finite_is_named_and_finite_ones_pass():
    require_finite({"loss": 1e300, "lr": -0.0}, "update 1 of 2", "method.dm.lr_img")
    with pytest.raises(Diverged, match=r"^lr is inf at update 1 of 2: lower method\.mtt\.lr_lr\.$"):
        require_finite({"loss": 1.0, "lr": math.inf, "guidance": math.nan}, "update 1 of 2", "method.mtt.lr_lr")


def test_a_stage_ends_with_one_sentence_and_exit_status_2(tmp_path, spoilt, capsys):
    spoilt(1)
    job = distilling("dm", tmp_path)

    def run():
        with stage.finished(work.distill, {"distill dm": job}, COMPUTE, (methods.load("dm").__name__,)):
            pass

    assert guarded(run) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert errors == ["error: distill dm: loss is nan at update 2 of 6: lower method.dm.lr_img."]


def test_a_comparison_counts_students_that_diverged():
    path = "evaluate.standard.A"
    metrics = {f"{path}.mean": 50.0, f"{path}.std": 1.0}
    params = {"evaluate.seeds": 3}
    texts = [
        cell(Result(name="x", params=params, metrics=metrics | more), path) for more in ({}, {f"{path}.diverged": 1})
    ]
    assert texts == ["50.00 ± 1.00 (3)", "50.00 ± 1.00 (3, 1 diverged)"]
