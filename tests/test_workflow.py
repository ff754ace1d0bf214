"""The real workflow in temporary clones: what runs, what does not, and what bad input says."""

import io
import json
import shutil
import tarfile

import pytest
import yaml
from dvc.repo import Repo
from PIL import Image

from distillation import checks, params
from distillation.data.real import RealSet
from distillation.runtime.errors import BadInput
from tests.helpers.clones import NETWORK

pytestmark = pytest.mark.workflow

DISTILLED = {"distill", "relabel", "evaluate@standard", "report"}
RESULTS = {"evaluate@standard", "baseline@standard", "whole"}
EVERYTHING = {"download", "teacher@main", *DISTILLED, *RESULTS}


def stale(clone):
    """The stages that ``dvc repro`` would run, found without running any (in this process: dvc takes long to start)."""
    with Repo(str(clone.folder)) as repo:
        return {stage.rpartition(":")[2] for stage in repo.status()}  # their file is named relative to ours


MORE = {"source": "dataset", "objective": "supervised", "networks": [NETWORK]}
SETTINGS = [
    # (what changes, what is stale at once beside check)
    ({"method.alpha": 1000.0}, {"distill"}),
    ({"method.dm.iterations": 30}, {"distill"}),
    ({"method.herding.features": "pixels"}, set()),
    ({"method.ipc": 2}, {"enough", "distill", "baseline@standard"}),
    ({"method.seed": 1}, {"distill"}),
    ({"method.name": "random"}, {"distill"}),
    ({"method.guidance.scale": "relative"}, {"distill"}),
    ({"evaluate.seeds": 3}, RESULTS),
    ({"evaluate.draws": 3}, {"baseline@standard"}),
    ({"evaluate.standard.hard.epochs": 11}, {"evaluate@standard", "baseline@standard"}),
    ({"evaluate.common.epochs": 11}, set()),
    ({"evaluate.whole.epochs": 2}, {"whole"}),
    ({"evaluate.save_models": True}, {"evaluate@standard"}),
    ({"evaluate.test_every": 5}, RESULTS),
    ({"evaluate.assess.teachers": ["main"]}, {"assess@main", "report"}),
    ({"evaluate.assess.real": 64}, set()),
    ({"evaluate.protocols": ["standard", "common"]}, {"evaluate@common", "baseline@common", "report"}),
    ({"relabel.kind": "logits"}, {"relabel"}),
    ({"relabel.pixels": "jpeg"}, {"relabel"}),
    ({"relabel.probs.temperature": 2.0}, set()),
    ({"teacher.main.count": 2}, {"teacher@main", "report"}),
    ({"teacher.more": {**MORE, "count": 1}}, {"teacher@more", "report"}),
    ({"pool.seed": 1}, {"teacher@main"}),
    ({"objectives.supervised.momentum": 0.5}, {"teacher@main"}),
    ({"objectives.barlow_twins.epochs": 7}, set()),
    ({"sources.other": {"name": "digits"}}, {"source@other"}),
    ({"targets.other": {"name": "digits"}}, {"target@other", "transfer@other", "transfer_baseline@other", "report"}),
    ({"dataset.stats": "computed"}, {"download"}),
    ({"compute.threads": 2}, EVERYTHING - {"download", "report"}),
    ({"compute.device": "cpu"}, None),
    ({"compute.locks": "/nowhere"}, None),
    ({"compute.workers": 3}, None),
    ({"compute.checkpoint": 9.0}, None),
]


@pytest.mark.parametrize(("change", "expected"), SETTINGS, ids=lambda v: next(iter(v)) if isinstance(v, dict) else "")
def test_a_setting_makes_stale_exactly_what_it_changes(clone, change, expected):
    clone.set(change)
    found = stale(clone)
    assert found - {"check"} == (expected or set())
    assert ("check" in found) == (expected is not None)


def test_one_more_objective_makes_no_pool_stale(clone):
    code = clone.path("distillation/teachers/objectives")
    shutil.copy(code / "trajectory.py", code / "retraced.py")
    values = params.load(clone.path("params.yaml")).values
    clone.set({"objectives.retraced": values["objectives"]["trajectory"]})
    clone.run("dvc", "repro", "-q", "check")
    assert stale(clone) == set()


@pytest.mark.parametrize("file", ["params.yaml", "dvc.yaml"])
def test_a_comment_makes_nothing_stale(clone, file):
    clone.path(file).write_text("# a comment\n" + clone.path(file).read_text())
    assert stale(clone) == set()


def test_every_network_of_the_small_workflow_learns(clone):
    """Chance is 10 percent: a set with wrong labels, or a test set in another order, would be found here."""
    metrics = json.loads(clone.path("reports/metrics.json").read_text())
    rows = {name: metrics["baseline"]["standard"][name][NETWORK] for name in ("random", "kmeans", "mean")}
    rows |= {"distilled": metrics["evaluate"]["standard"][NETWORK], "whole": metrics["whole"][NETWORK]}
    rows["teacher"] = metrics["teacher"]["main"][NETWORK]
    assert {name: row["mean"] > 25 for name, row in rows.items()} == dict.fromkeys(rows, True)


def test_a_second_repro_runs_nothing(clone):
    again = clone.run("dvc", "repro")
    assert "Running stage" not in again.stdout + again.stderr


@pytest.mark.slow
def test_a_forced_repro_gives_the_same_lock(clone):
    shutil.rmtree(clone.path(".dvc/tmp/work"))
    lock = clone.lock
    clone.run("dvc", "repro", "-f")
    assert clone.lock == lock


@pytest.mark.slow
def test_workers_change_no_bit(clone):
    shutil.rmtree(clone.path(".dvc/tmp/work"))
    lock = clone.lock
    clone.set({"compute.workers": 3})
    clone.run("dvc", "repro", "-f", "-s", "baseline@standard")
    assert clone.lock == lock


@pytest.mark.slow
@pytest.mark.parametrize(("key", "stage"), [("sources", "source@other"), ("targets", "target@other")])
def test_the_run_cache_knows_the_size_of_an_entry(clone, key, stage):
    for size in (8, 12, 8):
        clone.set(
            {"dataset.pixels": size, f"{key}.other": {"name": "digits", "pixels": size}}
        )  # targets are of its shape
        clone.run("dvc", "repro", stage)
        assert RealSet.load(clone.path(f"data/real/{key}/other")).shape[1] == size


def outs(clone):
    """Path to hash of all outs in dvc.lock: not what they were made of, which has the console's files."""
    stages = yaml.safe_load(clone.lock)["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


NO_PROGRESS = """
class Progress:
    def __init__(self, *_, **__): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def advance(self, *_, **__): pass
    def note(self, *_): pass
"""


@pytest.mark.slow
def test_the_console_is_cosmetic(clone):
    """With every console function replaced by one that does nothing, every stage writes the same bytes."""
    shutil.rmtree(clone.path(".dvc/tmp/work"))
    clone.path("distillation/console/progress.py").write_text(NO_PROGRESS)
    before = outs(clone)
    clone.run("dvc", "repro", "-f")
    assert outs(clone) == before


@pytest.mark.slow
def test_a_console_that_changes_bytes_is_noticed(clone):
    """The comparison above can fail: this console turns another convolution on."""
    shutil.rmtree(clone.path(".dvc/tmp/work"))
    meddling = NO_PROGRESS + "import torch\ntorch.backends.mkldnn.enabled = False\n"
    clone.path("distillation/console/progress.py").write_text(meddling)
    before = outs(clone)
    clone.run("dvc", "repro", "-f", "-s", "distill")
    assert outs(clone) != before


@pytest.mark.slow
def test_what_is_no_longer_named_stays_and_the_report_does_not_show_it(clone):
    shown = lambda: {o["path"]: o["md5"] for o in yaml.safe_load(clone.lock)["stages"]["report"]["outs"]}  # noqa: E731
    alone, before = shown(), clone.path("params.yaml").read_text()
    clone.set({"teacher.more": MORE, "evaluate.assess.teachers": ["more"]})
    clone.run("dvc", "repro")
    pool = clone.path("models/teachers/more")
    files = {file: file.read_bytes() for file in pool.iterdir()}
    assert files and shown() != alone
    clone.path("params.yaml").write_text(before)
    ran = clone.run("dvc", "repro").stdout.splitlines()
    assert [line for line in ran if line.startswith("Running stage")] == ["Running stage 'report':"]
    clone.run("dvc", "gc", "-wf")
    assert shown() == alone and {file: file.read_bytes() for file in pool.iterdir()} == files
    left = clone.run("python", "-m", "distillation", "clean").stdout
    assert "models/teachers/more, " in left and "reports/assessment/more, " in left
    assert left.count("DVC's cache does not hold it whole") == 2, "these are the last copies"


def test_more_seeds_and_teachers_copy_what_is_done(clone):
    made = lambda: {f.parent.parent.name: f.stat().st_mtime_ns for f in clone.path(".dvc/tmp/work").rglob("cost.json")}  # noqa: E731
    before = made()
    clone.set({"evaluate.seeds": 3})
    clone.run("dvc", "repro", "evaluate@standard")
    after = made()
    assert {name: after[name] for name in before} == before
    assert len(after) - len(before) == 1


CARRIED_OVER = {  # to a target: everything that the stages transfer and kd do, made short
    "targets.other": {"name": "digits"},
    "teacher.kd": {**MORE, "source": "targets/other"},
    "evaluate.kd.teachers": {"other": "kd"},
    "evaluate.kd.epochs": 1,
    "evaluate.pretrain.hard.epochs": 1,
    "evaluate.transfer.finetune.steps": 1,
}
WAYS = {  # what foreach gives a stage
    "teacher": ("main", "main"),
    "assess": ("main", "main"),
    "evaluate": ("standard", "standard"),
    "baseline": ("standard", "standard"),
    "transfer": ("other", "other"),
    "kd": ("other", "kd"),
}


@pytest.mark.slow
def test_a_stage_reads_only_the_parameters_it_tracks(clone):
    """What each stage reads of params.yaml, recorded, is what dvc.yaml tracks for it (or places it: compute)."""
    clone.set({"evaluate.assess.teachers": ["main"], **CARRIED_OVER})
    clone.run("dvc", "repro", "-q", "target@other", "teacher@kd")
    workflow = yaml.safe_load(clone.path("dvc.yaml").read_text())["stages"]
    values = clone.path("params.yaml").read_text()
    recorder = (
        "import sys, json, runpy, atexit\n"
        "from distillation import params\n"
        "made = []\n"
        "load = params.load\n"
        "params.load = lambda *a: made.append(load(*a)) or made[-1]\n"
        "atexit.register(lambda: json.dump(sorted(set().union(*(m.reads for m in made))), open('reads.json', 'w')))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
    )
    clone.path("recorder.py").write_text(recorder)
    for name, body in workflow.items():
        if name in ("code", "check", "source", "target"):
            continue
        body = body.get("do", body)
        key, item = WAYS.get(name.removesuffix("_baseline"), ("", ""))
        fill = lambda text, key=key, item=item: (  # noqa: E731
            text.replace("${key}", key)
            .replace("${item}", item)
            .replace("${item.objective}", "supervised")
            .replace("${method.name}", "dm")
            .replace("${relabel.kind}", "keep")
        )
        tracked = [fill(p) for p in body["params"]]
        clone.run("python", "recorder.py", *fill(body["cmd"]).split("-m ")[1].split())
        reads = json.loads(clone.path("reads.json").read_text())
        untracked = [r for r in reads if r != "compute" and not any(r == t or r.startswith(t + ".") for t in tracked)]
        assert untracked == [], name
    assert clone.path("params.yaml").read_text() == values


BAD = [
    ({"method.name": "dmm"}, "method.name is 'dmm', but the methods are"),
    ({"method.ipc": 0}, "method.ipc is 0"),
    (
        {"method.ipc": 145},
        "method.ipc is 145, but digits has 1,442 training images of 10 classes: set it to 144 or less",
    ),
    ({"method.alpha": "abc"}, "method.alpha is 'abc'"),
    ({"method.name": "random", "method.alpha": 10.0}, "method.alpha is above 0, but random has no image gradient"),
    ({"dataset.name": "cifar11"}, "dataset.name is 'cifar11'"),
    ({"method.dm.iteratoins": 5}, "method.dm.iteratoins is not a setting"),
    ({"method.network": "ConvNetD6"}, "method.network: "),
    ({"method.teacher": "nobody"}, "method.teacher is 'nobody'"),
    ({"evaluate.protocols": ["standrad"]}, "evaluate.protocols has 'standrad'"),
    ({"teacher.main.keep": [40]}, "keeps epoch 40"),
    ({"teacher.main.objective": "simclr"}, "teacher.main.objective is 'simclr', but the objectives are barlow_twins, "),
    ({"objectives.simclr": {}}, "objectives has no setting 'simclr'; it has barlow_twins, "),
]


def refusal(clone):
    """The one sentence that check has against the parameters of a clone."""
    with pytest.raises(BadInput) as refused:
        checks.check_all(params.load(clone.path("params.yaml")))
    return str(refused.value)


def files_of(clone):
    return {p for p in clone.folder.rglob("*") if ".dvc" not in p.parts and ".git" not in p.parts}


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_bad_parameters_are_refused_before_anything_is_removed(clone, change, sentence):
    files = files_of(clone)
    clone.set(change)
    said = refusal(clone)
    assert sentence in said and "\n" not in said
    if (change, sentence) != BAD[0]:
        return  # one of them through DVC, whose start takes long
    through = clone.run("dvc", "repro", ok=False)
    assert through.returncode != 0 and f"error: {said}\n" in through.stderr
    assert files - files_of(clone) <= {clone.path("data/checked")}  # which says that they are sound


def test_check_alone_says_the_same_and_exits_with_2(clone):
    clone.set({"method.ipc": 0})
    alone = clone.run("python", "-m", "stages.check", ok=False)
    assert (alone.returncode, alone.stderr) == (2, f"error: {refusal(clone)}\n")


def test_more_images_than_the_smallest_class_has_are_refused(clone):
    clone.set({"method.ipc": 5000, "method.name": "random"})
    done = clone.run("python", "-m", "stages.distill", ok=False)
    assert done.returncode == 2 and "but the dataset has fewer of" in done.stderr
    assert clone.path("data/distilled/distilled.safetensors").is_file()


def tar_of(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def picture():
    content = io.BytesIO()
    Image.new("L", (8, 8), 99).save(content, "PNG")
    return content.getvalue()


NAMES = ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
BAD_ARCHIVES = {
    "outside": ({"../away.png": picture()}, "away.png"),
    "undecodable": (dict.fromkeys(NAMES, b"no picture"), "1.png"),
    "truncated": (None, "archive.tar"),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_a_bad_archive_is_one_sentence_and_the_old_dataset_comes_back(clone, kind):
    files, named = BAD_ARCHIVES[kind]
    tar_of(clone.path("archive.tar"), files or dict.fromkeys(NAMES, picture()))
    if files is None:
        clone.path("archive.tar").write_bytes(clone.path("archive.tar").read_bytes()[:700])
    clone.set({"dataset.name": "imagefolder", "dataset.archive": "archive.tar"})
    done = clone.run("dvc", "repro", "-s", "download", ok=False)
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0 and named in said
    assert not list(clone.path("data").rglob("*.partial"))
    clone.run("dvc", "checkout", "data/real/dataset")  # dvc took the old out away before it ran the stage
    assert clone.run("git", "diff", "--stat", "dvc.lock").stdout == ""
    clone.run("git", "checkout", "params.yaml")
    assert "download" not in stale(clone)


STAGES = [
    "code",
    "check",
    "download",
    "teacher",
    "distill",
    "relabel",
    "evaluate",
    "baseline",
    "whole",
    "assess",
    "report",
]


@pytest.mark.parametrize(
    "script", [*(f"stages.{s}" for s in STAGES), "distillation.commands.clean", "distillation.commands.compare"]
)
def test_help_says_what_a_stage_reads_and_writes(script):
    import importlib

    doc = importlib.import_module(script).__doc__
    assert "\nReads " in doc and "\nWrites " in doc


def test_metrics_and_plots_have_sensible_names(clone):
    shown = json.loads(clone.run("dvc", "metrics", "show", "--json").stdout)
    metrics = shown[""]["data"]["reports/metrics.json"]["data"]
    assert set(metrics["evaluate"]["standard"][NETWORK]) == {"mean", "std"}
    assert set(metrics) >= {"baseline", "distill", "evaluate", "teacher", "whole"}
    assert "plots" in clone.run("dvc", "plots", "show").stdout


@pytest.mark.slow
def test_every_method_runs(clone):
    for method in ("random", "gaussian", "herding", "kcenter", "kmeans"):
        clone.set({"method.name": method, "method.ipc": 2})
        clone.run("dvc", "repro", "-s", "distill")
        assert json.loads(clone.path("data/distilled/info.json").read_text())["method"] == method
    clone.run("dvc", "repro", "report")
    assert "kmeans" in clone.path("reports/index.html").read_text()


def test_a_guided_experiment_differs(clone):
    clone.run("dvc", "exp", "run", "-S", "method.alpha=1000")
    changed = json.loads(clone.run("dvc", "metrics", "diff", "--json").stdout)["reports/metrics.json"]
    assert "distill.guidance" in changed or "distill.loss" in changed
