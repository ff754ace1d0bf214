"""The self-check: what stands in the way is one line, and stale stages come with reasons and what they cost."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from dvc.repo import Repo

from distillation.checks import processor
from distillation.commands import doctor
from distillation.runtime import files
from distillation.runtime.errors import guarded

ROOT = Path(__file__).resolve().parents[1]
PARAMS = (ROOT / "params.yaml").read_text()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A repository with the product's params.yaml and one stage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.process, "begin", lambda: None)
    monkeypatch.setattr(processor, "SECONDS", 0.0)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    subprocess.run(["git", "init", "-q"], check=True)
    Path("params.yaml").write_text(PARAMS)
    Path("dvc.yaml").write_text(
        "stages:\n  s:\n    cmd: cp params.yaml out\n    params: [method.alpha]\n    outs: [out]\n"
    )
    with Repo.init() as repo:
        repo.reproduce()
    return tmp_path


def said(capsys):
    out, err = capsys.readouterr()
    return out, err


def remote(url, name="store"):
    with Repo() as repo, repo.config.edit("repo") as config:
        config.setdefault("remote", {})[name] = {"url": url}


def test_a_sound_machine_and_repository(here, capsys):
    assert guarded(doctor.run) == 0
    out, err = said(capsys)
    assert "suits ConvNetD2W64NN at 8 pixels" in out
    for title in ("device", "cpu", "disk", "cache", "remotes", "data", "stages"):
        assert f"\n{title}" in f"\n{out}"
    assert "dataset: digits, there" in out and "all up to date" in out and err == ""


def test_it_says_whether_the_cpu_has_units_for_bf16(tmp_path):
    flags = tmp_path / "cpuinfo"
    assert list(processor.half_precision(flags)) == []
    flags.write_text("flags\t\t: avx2 avx512f avx512_bf16 amx_bf16\n")
    (line,) = processor.half_precision(flags)
    assert (
        line.startswith("cpu has units for bf16 (amx_bf16, avx512_bf16): ") and "python -m benchmarks --quick" in line
    )
    flags.write_text("flags\t\t: avx2 avx512f\n")
    (line,) = processor.half_precision(flags)
    assert line.startswith("cpu has no known units for bf16")


@pytest.mark.parametrize(
    ("speeds", "suited"),
    [({1: 300.0, 2: 200.0, 4: 900.0}, 1), ({1: 2.0, 2: 3.8, 4: 5.7, 8: 6.0}, 4), ({1: 5.0}, 1)],
)
def test_threads_are_doubled_as_long_as_that_pays(speeds, suited):
    assert processor.suited(speeds) == suited


def test_threads_are_measured_and_left_as_they_were(monkeypatch):
    seen, before = [], torch.get_num_threads()
    take = processor.Training.advance
    monkeypatch.setattr(
        processor.Training, "advance", lambda training: (seen.append(torch.get_num_threads()), take(training))
    )
    speeds = processor.steps_a_second("ConvNetW4D1", 1, 8, [1, 2], seconds=0.0)
    assert seen == [1, 2, 1, 2] and torch.get_num_threads() == before
    assert set(speeds) == {1, 2} and all(speed > 0 for speed in speeds.values())


def test_each_student_has_its_line_of_threads(monkeypatch):
    counts = []
    monkeypatch.setattr(
        processor,
        "steps_a_second",
        lambda network, channels, pixels, tried, seconds: counts.append(tried) or {1: 9.0, 2: 18.0},
    )
    small, large = processor.thread_lines(6)
    assert counts == [[1, 2, 4]] * 2
    assert small == "compute.threads 2 suits ConvNetD2W64NN at 8 pixels (steps a second: 9 by 1, 18 by 2)"
    assert "ConvNet at 32 pixels" in large


def test_a_stale_stage_has_its_reason_and_its_cost(here, capsys):
    lock = doctor.outs(Path("dvc.lock"))
    files.save_json(Path("reports/cost.json"), {lock["s"][0]: {"stage": "s", "seconds": 150.0}})
    Path("params.yaml").write_text(PARAMS.replace("alpha: 100.0 ", "alpha: 10.0 "))
    assert guarded(doctor.run) == 0
    out, _ = said(capsys)
    assert "s: method.alpha modified; 2 min last time" in out
    assert "stale, and what follows from them; 2 min last time together" in out


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([{"changed deps": {"params.yaml": {"a.b": "modified"}, "data/x": "deleted"}}], "a.b modified, data/x deleted"),
        (["changed command", {"changed outs": {"o": "not in cache"}}], "changed command, o not in cache"),
    ],
)
def test_reasons_are_dvcs_in_words(changes, text):
    assert doctor.why(changes) == text


def test_remotes_answer_or_refuse(here, capsys):
    Path("there").mkdir()
    remote(str(here / "there" / "store"))
    assert guarded(doctor.run) == 0
    assert "answers; nothing was pushed to it yet" in said(capsys)[0]
    remote("/nowhere/at/all")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        remote(f"ssh://nobody@127.0.0.1:{free.getsockname()[1]}/x", "team")  # bound, but nobody listens
        assert guarded(doctor.run) == 2
    out, err = said(capsys)
    assert "the remote store (/nowhere/at/all) refuses: there is no folder /nowhere/at" in out
    assert "the remote team (ssh://nobody@127.0.0.1:" in out and "refuses: " in out
    assert err == "error: 2 lines above, of remotes, must be put right first.\n"


def test_a_remote_that_keeps_silent_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(doctor, "PATIENCE", 0.05)
    monkeypatch.setattr(doctor.dvc_private, "remotes", lambda: {"a": "u"})
    monkeypatch.setattr(doctor.dvc_private, "has_content", lambda name: time.sleep(0.5))
    (line,) = doctor.remotes()
    assert isinstance(line, doctor.Fault) and "does not answer within" in line


def test_the_process_ends_though_a_remote_never_answers():
    script = (
        "import time; from distillation.commands import doctor\n"
        "doctor.PATIENCE = 0.05\n"
        "doctor.dvc_private.remotes = lambda: {'a': 'u'}\n"
        "doctor.dvc_private.has_content = lambda name: time.sleep(600)\n"
        "print(doctor.remotes())\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert "does not answer within" in done.stdout


def test_datasets_are_there_to_be_fetched_or_missing(here, monkeypatch, capsys):
    monkeypatch.delenv("DD_MIRROR", raising=False)
    assert doctor._dataset("dataset", {"name": "mnist"}) == "dataset: mnist, 11.6\u202fMB will be downloaded"
    locked = doctor._dataset("sources.a", {"name": "imagenet64"})
    assert isinstance(locked, doctor.Fault) and "fetched by hand" in locked
    own = doctor._dataset("dataset", {"name": "imagefolder", "archive": "/nowhere.zip"})
    assert isinstance(own, doctor.Fault) and own == "dataset.archive is /nowhere.zip, which is not there"


def test_a_gpu_that_is_asked_for_and_absent(monkeypatch):
    monkeypatch.setattr(doctor.torch.cuda, "device_count", lambda: 0)
    assert any(isinstance(line, doctor.Fault) for line in doctor.devices("cuda:0", 2))
    assert not any(isinstance(line, doctor.Fault) for line in doctor.devices("auto", 2))


@pytest.mark.parametrize(("choice", "bad"), [("cuda", 0), ("cuda:1", 0), ("cuda:2", 1), ("cuda:3", 1)])
def test_a_gpu_beyond_those_that_are_there(choice, bad, monkeypatch):
    monkeypatch.setattr(doctor.torch.cuda, "device_count", lambda: 2)
    card = SimpleNamespace(name="a card", total_memory=1e9)
    monkeypatch.setattr(doctor.torch.cuda, "get_device_properties", lambda index: card)
    faults = [line for line in doctor.devices(choice, 2) if isinstance(line, doctor.Fault)]
    assert len(faults) == bad and all("sees 2 GPUs here" in line for line in faults)
