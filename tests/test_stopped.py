"""Whoever is killed leaves no orphan, and whoever is stopped says so in one line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from distillation.runtime import parent
from distillation.runtime.errors import BadInput
from distillation.runtime.tasks import map_tasks

ROOT = Path(__file__).resolve().parents[1]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def started(*args, folder, **env):
    """A Python process in a folder, in a group of its own, that finds the product's code."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *args], cwd=folder, env=env, start_new_session=True, **pipes)


def until(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


# The tie to the parent


@pytest.fixture
def record(tmp_path):
    """A function that writes DVC's record of what runs, which names processes, into a repository without code."""
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)

    def write(*processes):
        holders = {f"/out/{pid}": {"pid": pid, "cmd": "dvc repro"} for pid in processes}
        readers = {"/dep": [{"pid": os.getpid(), "cmd": "dvc status"}]}
        (tmp_path / ".dvc" / "tmp" / "rwlock").write_text(json.dumps({"write": holders, "read": readers}))

    return write


def loaded(stderr):
    """The modules that a process loaded, as ``-X importtime`` lists them."""
    return {line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("stage", ["check", "code", "distill"])
@pytest.mark.parametrize("holders", [None, [], [2**22 + 1]], ids=["no record", "nobody", "another"])
def test_a_stage_whose_dvc_has_ended_ends_before_it_loads_or_writes_anything(stage, holders, record, tmp_path):
    if holders is not None:
        record(*holders)
    process = started("-X", "importtime", "-m", f"stages.{stage}", folder=tmp_path, DVC_STAGE=stage)
    _, stderr = process.communicate(timeout=60)
    (said,) = [line for line in stderr.splitlines() if not line.startswith("import time:")]
    assert process.returncode == 2 and said.startswith("error: the dvc that started this stage has ended")
    assert f"does not name process {os.getpid()})" in said
    assert not loaded(stderr) & {"torch", "numpy", "pydantic", f"stages.{stage}"}
    assert not (tmp_path / "data").exists()


def test_a_stage_that_dvc_runs_goes_on_to_look_at_its_code(record, tmp_path):
    record(2**22 + 1, os.getpid())
    process = started("-m", "stages.code", folder=tmp_path, DVC_STAGE="code")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2 and stderr.startswith("error: this run would use the code of ")


def test_the_record_of_the_repository_above_counts_and_is_read_whole(record, tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text('{"write": {"/out": {"pi')
    threading.Timer(0.2, record, [7, 8]).start()
    assert parent._running_dvcs() == {7, 8}


def test_a_worker_whose_stage_has_ended_is_killed(tmp_path):
    code = (
        f"from distillation.runtime import parent; parent.tie({os.getpid()}); print('tied'); parent.tie(1); print('on')"
    )
    process = started("-c", code, folder=tmp_path)
    assert process.communicate(timeout=60)[0] == "tied\n" and process.returncode == -signal.SIGKILL


def _killed(index):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_sentence():
    with pytest.raises(BadInput, match="a worker was killed, .* lower compute.workers"):
        list(map_tasks(_killed, [0, 1], 2, 1))


# Ctrl-C and SIGTERM


def catches(process):
    """Whether a process has a handler for SIGTERM."""
    (line,) = [line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "SigCgt" in line]
    return int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1


def line_of(number):
    return f"stopped by {number.name}: the same command goes on from what is finished.\n"


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("program", [["stages.distill"], ["distillation", "doctor"]], ids=["stage", "command"])
def test_a_signal_while_modules_are_imported_is_one_line(program, number, tmp_path):
    process = started("-m", *program, folder=tmp_path)
    until(lambda: catches(process), process)
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", line_of(number)) and process.returncode == STATUS[number]


RUN = """
import os, sys, time
from pathlib import Path
from distillation.runtime import signals
from distillation.runtime.errors import guarded
from distillation.runtime.files import atomic_output
from distillation.runtime.tasks import map_tasks

def work(name):
    Path(f"{name}.new").write_text(str(os.getpid()))
    os.rename(f"{name}.new", name)
    time.sleep(300)

def run(workers):
    with atomic_output("out") as folder:
        (folder / "half").touch()
        list(map_tasks(work, ["a", "b"][:workers], workers, 1))

if __name__ == "__main__":
    signals.end_in_a_sentence()
    sys.exit(guarded(run, int(sys.argv[1])))
"""


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("everybody", [True, False], ids=["group", "alone"])
def test_a_signal_while_work_is_done_is_one_line_and_leaves_nothing(number, workers, everybody, tmp_path):
    if everybody and number == signal.SIGTERM and workers == 2:
        pytest.skip("workers end by it too, and which of two sentences comes first is open")
    (tmp_path / "run.py").write_text(RUN)
    process = started("run.py", str(workers), folder=tmp_path)
    names = ["a", "b"][:workers]
    until(lambda: all((tmp_path / name).exists() for name in names), process)
    pids = [int((tmp_path / name).read_text()) for name in names]
    (os.killpg if everybody else os.kill)(process.pid, number)
    assert process.communicate(timeout=60) == ("", line_of(number)) and process.returncode == STATUS[number]
    assert not any(map(psutil.pid_exists, pids))
    assert {path.name for path in tmp_path.iterdir()} == {"run.py", *names}


def test_a_second_signal_kills(tmp_path):
    code = "import time; from distillation.runtime import signals; signals.end_in_a_sentence()\n"
    code += "try:\n    time.sleep(300)\nfinally:\n    print('cleaning', flush=True); time.sleep(300)"
    process = started("-c", code, folder=tmp_path)
    until(lambda: catches(process), process)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT


def test_a_signal_that_was_ignored_stays_ignored(tmp_path):
    code = "import os, signal; from distillation.runtime import signals\n"
    code += "signal.signal(signal.SIGINT, signal.SIG_IGN); signals.end_in_a_sentence()\n"
    code += "os.kill(os.getpid(), signal.SIGINT); print('on')"
    process = started("-c", code, folder=tmp_path)
    assert process.communicate(timeout=60) == ("on\n", "") and process.returncode == 0


def test_who_imports_the_stages_keeps_its_signals_and_is_tied_to_nobody(tmp_path):
    code = "import signal; before = signal.getsignal(signal.SIGTERM); import stages\n"
    code += "print(signal.getsignal(signal.SIGTERM) is before)"
    process = started("-c", code, folder=tmp_path, DVC_STAGE="check")
    assert process.communicate(timeout=60) == ("True\n", "")
