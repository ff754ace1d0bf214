"""kill -9 at any moment, in dvc repro, in a temporary experiment and in the queue: the same final bytes."""

import contextlib
import os
import random
import shutil
import signal
import time

import psutil
import pytest

from tests.helpers.clones import Clone

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

# how many kills of each kind, and moments of its start at which a stage is killed: CI does a few, a person with time sets
# KILLS=10 STARTS=20
KILLS = int(os.environ.get("KILLS", "1"))
STARTS = int(os.environ.get("STARTS", "8"))
LONGER = {
    "teacher.main.supervised.epochs": 200,
    "method.dm.iterations": 3000,
    "evaluate.standard.hard.epochs": 2500,
    "evaluate.seeds": 1,
    "evaluate.draws": 1,
}
STAGES = ["teacher@main", "distill", "evaluate@standard"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A clone with longer stages, reproduced without interruption; its finished work is taken away."""
    clone = Clone.of_the_product(tmp_path_factory.mktemp("undisturbed"), LONGER)
    clone.run("dvc", "repro")
    clone.commit()
    shutil.rmtree(clone.path(".dvc/tmp/work"))
    return clone


def wait_for_checkpoint(clone, process, stage):
    """Returns once work of ``stage`` has a checkpoint, or the process has ended."""
    prefix = stage.split("@")[0]
    deadline = time.time() + 300
    while process.poll() is None and time.time() < deadline:
        if list(clone.path(".dvc/tmp/work").glob(f"{prefix}*/state.safetensors")):
            break
        time.sleep(0.02)


def kill_while(clone, command, stage, moment, group):
    """Start ``command`` and kill it ``moment`` seconds after a checkpoint of ``stage``; whether it was still running."""
    process = clone.start(*command)
    wait_for_checkpoint(clone, process, stage)
    time.sleep(moment)
    alive = process.poll() is None
    clone.kill(process, group)
    return alive


def wait_for_orphans(clone):
    """A stage whose dvc was killed dies with it: nobody writes into the clone any more."""
    deadline = time.time() + 20
    while time.time() < deadline:
        if not (here := clone.processes()):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {here}")


def content(folder):
    """Path to bytes of all files of outs."""
    files = (path for top in ("data", "models", "reports") for path in (folder / top).rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


def runs_a_stage(dvc):
    """Whether a dvc has begun a stage, be it as the shell that becomes it."""
    with contextlib.suppress(psutil.Error):
        return any("stages." in "".join(child.cmdline()) for child in psutil.Process(dvc.pid).children())


# seconds of a stage's life, which imports for seconds: 0, then from a millisecond to one second, a constant factor apart
MOMENTS = [0, *(10 ** (-3 * left / max(1, STARTS - 2)) for left in reversed(range(STARTS - 1)))]


@pytest.mark.parametrize("moment", MOMENTS, ids="{:.4f}".format)
@pytest.mark.parametrize("stage", ["code", "check", "distill"])
def test_a_stage_that_has_just_begun_dies_with_its_dvc_and_writes_nothing(clone, stage, moment):
    shutil.rmtree(clone.path(".dvc/tmp/work"))
    dvc = clone.start("dvc", "repro", "-f", "-s", stage)
    while not runs_a_stage(dvc):
        assert dvc.poll() is None
    time.sleep(moment)
    clone.kill(dvc, group=False)
    before = content(clone.folder)
    wait_for_orphans(clone)
    assert content(clone.folder) == before and not list(clone.path(".dvc/tmp").glob("work/*/*"))


@pytest.mark.parametrize("stage", ["distill", "baseline@standard"])
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(undisturbed, copy_of, stage):
    clone, command = copy_of(undisturbed), ["dvc", "repro", "-f", "-s", stage]
    clone.set({"compute.workers": 2})
    process = clone.start(*command)
    wait_for_checkpoint(clone, process, stage)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    wait_for_orphans(clone)
    said = clone.path(".dvc/tmp/log.txt").read_text()
    assert said.count("stopped by SIGINT: the same command goes on") == 1 and "Traceback" not in said
    assert "exited with 130" in said
    assert "resumed after" in clone.run(*command).stderr
    assert clone.lock == undisturbed.lock


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("group", [True, False], ids=["all", "dvc alone"])
def test_repro_after_kills_gives_the_same_lock(undisturbed, copy_of, stage, group):
    clone, moments = copy_of(undisturbed), random.Random(stage)
    command = ["dvc", "repro", "-f", "-s", stage]
    for _ in range(KILLS):
        assert kill_while(clone, command, stage, moments.uniform(0, 0.5), group), "ended before the kill"
        wait_for_orphans(clone)
    assert "resumed after" in clone.run(*command).stderr
    assert clone.lock == undisturbed.lock


def test_a_killed_experiment_resumes_in_another_and_in_the_queue(undisturbed, copy_of):
    clone, moments = copy_of(undisturbed), random.Random(1)
    beside = lambda name: Clone(shutil.copytree(clone.folder, clone.folder.parent / name, symlinks=True))  # noqa: E731
    reference, change = beside("reference"), ["-S", "method.alpha=10"]
    reference.run("dvc", "exp", "run", *change)
    for _ in range(KILLS):
        kill_while(clone, ["dvc", "exp", "run", "--temp", *change], "distill", moments.uniform(0, 0.5), True)
    wait_for_orphans(clone)
    other = beside("other")

    resumed = other.run("dvc", "exp", "run", "--temp", "-n", "again", *change)
    assert "resumed after" in resumed.stdout + resumed.stderr
    other.run("dvc", "exp", "apply", "again")
    assert other.lock == reference.lock

    clone.run("dvc", "exp", "run", "--queue", "-n", "queued", *change)
    clone.run("dvc", "queue", "start")
    deadline = time.time() + 300
    while "Success" not in clone.run("dvc", "queue", "status").stdout:
        assert time.time() < deadline, clone.run("dvc", "queue", "logs", "queued", ok=False).stdout
        time.sleep(1)
    assert "resumed after" in clone.run("dvc", "queue", "logs", "queued").stdout
    clone.run("dvc", "exp", "apply", "queued")
    assert clone.lock == reference.lock


def test_queued_experiments_that_share_a_teacher_train_it_once(undisturbed, copy_of):
    clone = copy_of(undisturbed)
    for seed in (1, 2, 3):
        change = ["-S", "teacher.main.supervised.epochs=400", "-S", f"method.seed={seed}"]
        clone.run("dvc", "exp", "run", "--queue", "-n", f"seed{seed}", *change)
    clone.run("dvc", "queue", "start", "-j", "3")
    deadline = time.time() + 400
    while clone.run("dvc", "queue", "status").stdout.count("Success") < 3:
        assert time.time() < deadline, clone.run("dvc", "queue", "status").stdout
        time.sleep(2)
    assert len(list(clone.path(".dvc/tmp/work").glob("teacher*/done"))) == 1
    logs = [clone.run("dvc", "queue", "logs", f"seed{seed}").stdout for seed in (1, 2, 3)]
    assert sum("another run computes it, waiting" in log for log in logs) >= 1
