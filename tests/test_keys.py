"""Keys of work against what work really does: the code that it loads and the files that it opens, seen from outside."""

import json
import multiprocessing
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from distillation import params as parameters
from distillation.recipes.results import nested
from distillation.runtime import stage
from distillation.runtime.fingerprint import COSMETIC
from distillation.runtime.keys import inputs_of, key_of
from distillation.runtime.work import Task
from tests.helpers.clones import NETWORK, SMALL, Clone
from tests.helpers.watch import watched

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

# One small run in which every kind of work is done.
EVERYTHING = {
    "targets.other": {"name": "digits"},
    "teacher.kd": {"source": "targets/other", "objective": "supervised", "networks": [NETWORK]},
    "evaluate.kd.teachers": {"other": "kd"},
    "evaluate.kd.epochs": 1,
    "evaluate.pretrain.hard.epochs": 1,
    "evaluate.transfer.finetune.steps": 1,
    "evaluate.assess.teachers": ["main"],
    "evaluate.seeds": 1,
    "evaluate.draws": 1,
}
CALLS = {  # a stage script and what it is called with
    "teacher": ["main"],
    "distill": [],
    "relabel": [],
    "evaluate": ["standard", None],
    "baseline": ["standard"],
    "whole": [],
    "transfer": ["distilled", "other"],
    "kd": ["distilled", "other", "kd"],
    "assess": ["main"],
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    clone = Clone.of_the_product(tmp_path_factory.mktemp("keys"), EVERYTHING)
    clone.run("dvc", "repro", "-q")
    return clone


def captured(clone, monkeypatch, script, settings=None):
    """(work, jobs, modules, pre-training that comes before) of a stage script, which computes nothing."""
    monkeypatch.chdir(clone.folder)
    monkeypatch.setenv("DVC_ROOT", str(clone.folder))
    found = {}

    def produce(name, out, write, work, jobs, compute, modules=(), before=None, together=None):
        found.update(work=work, jobs=jobs, modules=modules, compute=compute)

    values = nested(settings or {}, parameters.load("params.yaml").values)
    module = __import__(f"stages.{script}", fromlist=["run"])
    with monkeypatch.context() as patch:
        patch.setattr(stage, "produce", produce)
        patch.setattr("distillation.runtime.process.begin", lambda: None)
        patch.setattr(parameters, "load", lambda *_: parameters.Params(values))
        module.run(*CALLS[script])
    return found


def keys(found):
    return {label: task.folder for label, task in zip(found["jobs"], tasks(found), strict=True)}


def tasks(found):
    return stage.tasks_of(found["work"], found["jobs"], found["compute"], found["modules"])


@pytest.mark.parametrize("script", CALLS)
def test_work_reads_what_its_key_has_and_nothing_else(clone, monkeypatch, tmp_path, script):
    """In a process of its own: every module of ours that it loads and every file that it opens."""
    settings = {"relabel.kind": "fkd", "relabel.fkd.epochs": 1} if script == "relabel" else {}
    found = captured(clone, monkeypatch, script, settings)
    job, known = next(iter(found["jobs"].values())), tasks(found)[0]
    task = Task("watched", tmp_path / "task", known.inputs, 60.0)
    monkeypatch.syspath_prepend(clone.folder)  # a spawned process looks for modules where this one does
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        seen = process.submit(watched, found["work"], job, task).result()
    cosmetic = {"distillation/console/__init__.py", *(f"{name.replace('.', '/')}.py" for name in COSMETIC)}
    code = set(seen["code"]) - cosmetic
    assert code, "the watcher sees that modules are loaded"
    assert code <= known.inputs["code"].keys()
    paths = list(paths_of(known.inputs["job"]))
    data = [path for path in seen["read"] if not path.endswith((".py", ".pyc")) and path not in known.inputs["code"]]
    assert data, "the watcher sees that files are opened"
    beside = [path for path in data if not any(path == p or path.startswith(f"{p}/") for p in paths)]
    start = getattr(getattr(job, "start", None), "folder", None)  # another task, which stands by its key
    assert [path for path in beside if not (start and (clone.folder / path).is_relative_to(start))] == []


def paths_of(value):
    """The paths in described inputs."""
    if isinstance(value, dict):
        if value.keys() == {"path", "sha256"}:
            yield value["path"]
        for inner in value.values():
            yield from paths_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from paths_of(inner)


def leaves(value, path):
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    else:
        yield path, value


def another(value):
    """Another value of the same kind; None where there is no telling."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value / 2 if isinstance(value, float) and value else None


# Sections of params.yaml that a stage tracks, and the leaves in them that no piece of work reads: they say how many pieces
# there are, or belong to another kind of labels, another protocol or another shard.
TRACKED = {
    "teacher": (["teacher.main"], {"teacher.main.count"}),
    "distill": (["method.ipc", "method.seed", "method.alpha", "method.guidance", "method.chunk", "method.dm"], set()),
    "evaluate": (
        ["evaluate.seeds", "evaluate.test_every", "evaluate.save_models", "evaluate.standard"],
        {"evaluate.seeds", "evaluate.save_models"},
    ),
    "baseline": (
        ["evaluate.seeds", "evaluate.draws", "evaluate.test_every", "evaluate.standard"],
        {"evaluate.seeds", "evaluate.draws"},
    ),
    "whole": (["evaluate.seeds", "evaluate.whole"], {"evaluate.seeds"}),
    "transfer": (
        ["evaluate.pretrain", "evaluate.transfer"],
        {"evaluate.transfer.linear.steps", "evaluate.transfer.linear.batch"},
    ),
    "kd": (["evaluate.kd.epochs", "evaluate.kd.lr", "evaluate.kd.weight_decay"], set()),
    "assess": (["evaluate.assess.fresh", "evaluate.assess.real"], {"evaluate.assess.fresh"}),
}


@pytest.mark.parametrize("script", TRACKED)
def test_a_parameter_changes_the_work_that_reads_it(clone, monkeypatch, script):
    """One at a time: the first piece of work keeps its key exactly where its job does not hold the parameter."""
    sections, unread = TRACKED[script]
    before = keys(captured(clone, monkeypatch, script))
    values = parameters.load(clone.path("params.yaml"))
    changed = 0
    for section in sections:
        for path, value in leaves(values.value(section), section):
            if (other := another(value)) is None or path.endswith("set_lr"):
                continue
            try:
                after = keys(captured(clone, monkeypatch, script, {path: other}))
            except parameters.BadInput:
                continue  # a value that another one forbids
            label = next(iter(before))
            of_another_kind = script in ("evaluate", "baseline") and path.startswith("evaluate.standard.")
            of_another_kind = of_another_kind and not path.startswith("evaluate.standard.hard.")
            of_another_kind |= path.startswith(("evaluate.pretrain.soft.", "evaluate.pretrain.features."))
            of_another_kind |= path.startswith("evaluate.transfer.linear.")
            assert (after.get(label) == before[label]) == (path in unread or of_another_kind), path
            changed += after.get(label) != before[label]
    assert changed


@pytest.mark.parametrize("script", CALLS)
def test_a_module_changes_the_work_that_runs_it(clone, monkeypatch, script):
    """Each module of the stage in turn: the key changes exactly where the work's closure has the module."""
    settings = {"relabel.kind": "fkd", "relabel.fkd.epochs": 1} if script == "relabel" else {}
    found = captured(clone, monkeypatch, script, settings)
    job = next(iter(found["jobs"].values()))
    inputs = inputs_of(found["work"], job, {}, found["modules"])
    variant = {"teacher": "-supervised", "distill": "-dm", "relabel": "-keep"}.get(script, "")
    program = json.loads(clone.path(f"data/code/{script}{variant}.json").read_text())
    outside = {path for path in program if path not in inputs["code"]}
    assert Path(f"stages/{script}.py").as_posix() in outside, "the script only places work"
    for path in program:
        edited = {**inputs, "code": {file: "edited" if file == path else d for file, d in inputs["code"].items()}}
        assert (key_of(edited) == key_of(inputs)) == (path in outside), path


def test_a_row_leads_to_its_work_and_to_what_changed(clone, copy_of):
    """``explain``, and one student in the foreground."""
    copy = copy_of(clone)
    copy.set({"evaluate.standard.hard.epochs": 11})
    copy.run("dvc", "repro", "-q", "evaluate@standard")
    said = copy.run("python", "-m", "distillation", "explain", "reports/evaluation/standard", "--row", "0").stdout
    before = SMALL["evaluate.standard.hard.epochs"]
    assert "job.protocol.settings.epochs = 11" in said
    assert f"job.protocol.settings.epochs = {before} (here 11)" in said
    assert "computed when the out was written" in said
    copy.set({"evaluate.standard.hard.epochs": before, "evaluate.save_models": True})
    copy.run("dvc", "repro", "-q", "evaluate@standard")
    said = copy.run("python", "-m", "distillation", "explain", "reports/evaluation/standard").stdout
    assert "found finished, and copied" in said
    said = copy.run("python", "-m", "stages.evaluate", "standard", "--only", f"{NETWORK}/0").stdout
    assert "The same as its row" in said and "'accuracy'" in said
    wrong = copy.run("python", "-m", "stages.evaluate", "standard", "--only", f"{NETWORK}/7", ok=False)
    assert wrong.returncode == 2 and f"--only is '{NETWORK}/7', but the students are {NETWORK}/0." in wrong.stderr
    nothing = copy.run("python", "-m", "distillation", "explain", "reports/figures", ok=False)
    assert nothing.returncode == 2 and nothing.stderr.count("\n") == 1


def test_a_stage_runs_in_a_plain_folder(clone, tmp_path):
    """Without Git and DVC: params.yaml and the stage's inputs are enough; its checkpoints are beside them."""
    shutil.copy(clone.path("params.yaml"), tmp_path)
    for name in ("data/real/dataset", "data/relabeled"):
        shutil.copytree(clone.path(name), tmp_path / name)
    env = {**clone.env, "PYTHONPATH": str(clone.folder)}
    subprocess.run([sys.executable, "-m", "stages.evaluate", "standard"], cwd=tmp_path, env=env, check=True)
    for file in ("rows.csv", "curves.csv", "metrics.json"):
        ours, theirs = (folder / "reports/evaluation/standard" / file for folder in (tmp_path, clone.folder))
        assert ours.read_bytes() == theirs.read_bytes()
    assert list((tmp_path / ".work").glob("evaluate@standard-*/done"))
