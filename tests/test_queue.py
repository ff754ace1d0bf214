"""The queue on a box with two GPUs (simulated): leases, a killed worker, a killed machine."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from dvc_task.proc.process import ProcessInfo

from distillation.commands import requeue
from distillation.runtime import dvc_private
from distillation.runtime.errors import guarded

ROOT = Path(__file__).resolve().parents[1]
STAGE = f"""
import json, os, sys, time, types
torch = types.ModuleType("torch")  # its import takes seconds, and the lease wants few names of it
torch.autocast = torch.device = type("device", (tuple,), dict(__new__=lambda kind, *a: tuple.__new__(kind, a)))
torch.cuda = types.SimpleNamespace(device_count=lambda: 2)
sys.modules["torch"] = torch
sys.path.insert(0, {str(ROOT)!r})
from distillation.runtime import device
name = os.environ["DVC_EXP_NAME"]
log = open(os.path.join(os.environ["DVC_ROOT"], "log.jsonl"), "a")
with device.lease_device("auto", "auto") as (_, slot):
    for event in ("start", "end"):
        log.write(json.dumps(dict(event=event, name=name, slot=slot, pid=os.getpid(), at=time.monotonic())) + "\\n")
        log.flush()
        time.sleep(1.5 if event == "start" else 0)
open("out", "w").write(open("params.yaml").read())
"""


@pytest.fixture
def box(tmp_path, tmp_path_factory, monkeypatch):
    """A Git and DVC repository whose one stage leases a GPU for a second and a half."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(
        "TMPDIR", str(tmp_path_factory.mktemp("machine"))
    )  # its GPUs are simulated: their locks are not the machine's
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "a")
        monkeypatch.setenv(f"{name}_EMAIL", "a@b")
    dvc("git", "init", "-qb", "main")
    dvc("dvc", "init", "-q")
    Path("stage.py").write_text(STAGE)
    Path("params.yaml").write_text("seed: 0\n")
    Path("dvc.yaml").write_text(
        "stages:\n  s:\n    cmd: exec python stage.py\n    deps: [stage.py]\n    params: [seed]\n    outs: [out]\n"
    )
    Path(".gitignore").write_text("log.jsonl\nout\n")
    dvc("git", "add", "-A")
    dvc("git", "commit", "-qm", "c")
    yield tmp_path
    kill(everything(tmp_path))


def dvc(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout


def everything(folder):
    """The processes that work in a folder: the queue's workers and what they run."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.pid != os.getpid() and Path(each.cwd()).is_relative_to(folder):
                found.append(each.pid)
        except (psutil.Error, OSError):
            continue
    return found


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def events():
    path = Path("log.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, events()
        time.sleep(0.2)


def ended():
    return {event["name"] for event in events() if event["event"] == "end"}


@pytest.mark.workflow
@pytest.mark.slow
def test_two_workers_never_share_a_gpu_and_a_killed_queue_goes_on(box, capsys, monkeypatch):
    dvc("dvc", "exp", "run", "--queue", "-n", "e", "-S", "seed=1,2,3,4,5,6,7,8")
    names = [f"e-{i}" for i in range(1, 9)]
    dvc("dvc", "queue", "start", "-j", "2")
    until(lambda: len(ended()) >= 1 and len(events()) >= 4)
    victim = (
        events()[-1] if events()[-1]["event"] == "start" else next(e for e in events()[::-1] if e["event"] == "start")
    )
    kill([victim["pid"]])  # one stage: its lease ends with it
    until(lambda: len(ended() - {victim["name"]}) >= 4)
    kill(everything(box))  # the machine
    before = [event for event in events() if event["event"] == "start"]
    listed = dvc("dvc", "exp", "list", "--name-only").split()

    monkeypatch.setattr(requeue.process, "begin", lambda: None)
    assert guarded(requeue.run) == 0
    said = capsys.readouterr().out
    dvc("dvc", "queue", "start", "-j", "2")
    until(lambda: len(dvc("dvc", "exp", "list", "--name-only").split()) >= 7)

    assert set(names) - set(dvc("dvc", "exp", "list", "--name-only").split()) <= {victim["name"]}
    again = [event["name"] for event in events() if event["event"] == "start"][len(before) :]
    assert not set(again) & set(listed), f"finished before the kill, and run again: {again}, {listed}; {said}"
    intervals = held()
    for slot in (0, 1):
        of_slot = sorted(pair for s, *pair in intervals if s == slot)
        assert of_slot, "both GPUs are used"
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(of_slot)), of_slot
    assert "GPU 0" in "".join(path.read_text() for path in box.glob(".dvc/tmp/exps/run/*/*.out"))


def held():
    """(slot, from, to) of each lease that ended by itself."""
    started, found = {}, []
    for event in events():
        if event["event"] == "start":
            started[event["pid"]] = event
        else:
            found.append((event["slot"], started[event["pid"]]["at"], event["at"]))
    return found


REVISIONS = [letter * 40 for letter in "abc"]


def entry(revision):
    return SimpleNamespace(stash_rev=revision, name=f"n-{revision[0]}")


@pytest.fixture
def queue(monkeypatch):
    """DVC's queue with three experiments that it shows as running, whose number a stranger has; c is a worker's."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)", "exec-run"])
    infos = {name: ProcessInfo(stranger.pid, None, None, None, None) for name in REVISIONS}
    busy = {"worker": [{"args": [{"stash_rev": REVISIONS[2]}]}]}
    found = SimpleNamespace(iter_active=lambda: map(entry, REVISIONS), worker_status=lambda: busy, proc=infos)
    repo = SimpleNamespace(experiments=SimpleNamespace(celery_queue=found))
    monkeypatch.setattr("dvc.repo.Repo", lambda: contextlib.nullcontext(repo))
    monkeypatch.setattr(requeue, "_params", lambda revision: {"seed": revision[0]})
    monkeypatch.setattr(requeue.process, "begin", lambda: None)
    monkeypatch.setattr(requeue.parameters, "load", lambda: SimpleNamespace(values={"seed": 0}))
    yield found
    assert stranger.poll() is None, "nobody signalled it"
    stranger.kill()
    stranger.wait()


def test_a_number_that_another_process_has_is_not_alive(queue):
    assert dvc_private.abandoned() == {"n-a": REVISIONS[0], "n-b": REVISIONS[1]}
    ended = {name[0]: info.returncode for name, info in queue.proc.items()}
    assert ended == {"a": -1, "b": -1, "c": None}, "`dvc queue kill` signals what has no return code"


def test_the_process_of_dvc_is_alive_until_it_ends(queue):
    command = [sys.executable, "-c", "import time; time.sleep(120)", "exec-run", "--infofile", f"/x/{REVISIONS[0]}.run"]
    with subprocess.Popen(command) as ours:
        queue.proc[REVISIONS[0]] = dataclasses.replace(queue.proc[REVISIONS[0]], pid=ours.pid)
        until(lambda: psutil.Process(ours.pid).cmdline() == command)
        assert "n-a" not in dvc_private.abandoned()
        ours.kill()
    assert "n-a" in dvc_private.abandoned()


def test_one_that_dvc_refuses_does_not_keep_the_next(queue, capsys, monkeypatch):
    done = []

    def dvc_says(*arguments):
        if "n-a" in arguments:
            raise requeue.BadInput("`dvc queue kill` refuses: no.")
        done.append(arguments)

    monkeypatch.setattr(requeue, "_dvc", dvc_says)
    assert guarded(requeue.run) == 2
    out, err = capsys.readouterr()
    assert [arguments[:2] for arguments in done] == [("queue", "kill"), ("exp", "run")]
    assert out.startswith("1 queued again: n-b. ")
    assert err == "error: 1 of 2 could not be queued again: n-a, as `dvc queue kill` refuses: no.\n"


def test_without_lost_experiments_nothing_is_queued(box, capsys, monkeypatch):
    monkeypatch.setattr(requeue.process, "begin", lambda: None)
    assert guarded(requeue.run) == 0
    assert capsys.readouterr().out.startswith("0 queued again. `dvc queue start")
