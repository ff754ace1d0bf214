"""Nothing is removed that nobody asked to remove, and no last copy without being named one."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from distillation.commands import clean
from distillation.runtime.errors import guarded

ROOT = Path(__file__).resolve().parents[1]
PARAMS = """
sources: {}
targets:
  other: {name: digits}
teacher:
  main: {count: 1}
  more: {count: 1}
evaluate:
  protocols: [standard, common]
  assess: {teachers: [more]}
  kd: {teachers: {other: more}}
"""
STAGES = """
stages:
  teacher:
    foreach: ${teacher}
    do:
      cmd: mkdir models/teachers/${key} && echo ${key} > models/teachers/${key}/a && echo b > models/teachers/${key}/b
      outs: ["models/teachers/${key}"]
  evaluate:
    foreach: ${evaluate.protocols}
    do:
      cmd: mkdir reports/evaluation/${item} && echo ${item} > reports/evaluation/${item}/rows.csv
      outs: ["reports/evaluation/${item}"]
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A DVC repository whose params.yaml has just lost a pool and a protocol."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clean.process, "begin", lambda: None)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    subprocess.run(["git", "init", "-q"], check=True)
    for folder in ("models/teachers", "reports/evaluation"):
        Path(folder).mkdir(parents=True)
    Path("params.yaml").write_text(PARAMS)
    Path("dvc.yaml").write_text(STAGES)
    with Repo.init() as repo:
        repo.reproduce()
    edit("  more: {count: 1}\n", "")
    edit(", common", "")
    return tmp_path


def edit(old, new):
    text = Path("params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new))


def outs():
    return {str(out) for folder in clean.NAMED_BY for out in Path(folder).glob("*/")}


NAMED = {"models/teachers/main", "reports/evaluation/standard"}
POOL, PROTOCOL = "models/teachers/more", "reports/evaluation/common"


def test_the_folders_are_those_of_the_stages_that_run_once_for_each_name():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    each = [(stage["foreach"], out) for stage in stages if "foreach" in stage for out in stage["do"]["outs"]]
    assert {re.sub(r"/\$\{\w+\}$", "", out): path[2:-1] for path, out in each} == clean.NAMED_BY


def test_without_flags_everything_stays_and_is_listed(repository, capsys):
    before = outs()
    assert guarded(clean.run) == 0
    assert capsys.readouterr().out == (
        f"{POOL}, 7\u202fbytes: DVC's cache holds it\n{PROTOCOL}, 7\u202fbytes: DVC's cache holds it\n"
    )
    assert outs() == before == {*NAMED, POOL, PROTOCOL}


def test_what_the_cache_holds_is_removed_where_that_is_asked_for_and_comes_back(repository, capsys):
    lock = Path("dvc.lock").read_bytes()
    assert guarded(clean.run, None, True) == 0
    assert capsys.readouterr().out.count("DVC's cache holds it; removed\n") == 2
    assert outs() == NAMED and Path("dvc.lock").read_bytes() == lock
    assert guarded(clean.run) == 0
    assert capsys.readouterr().out == "params.yaml names every out.\n"
    Path("params.yaml").write_text(PARAMS)
    with Repo() as repo:
        repo.checkout()
    assert outs() == {*NAMED, POOL, PROTOCOL}


def lose_the_cache():
    """As `dvc gc -w` does, with what params.yaml no longer names."""
    with Repo() as repo:
        repo.gc(workspace=True, force=True)


def lose_one_file():
    for path in Path(".dvc/cache/files/md5").rglob("*"):
        if path.is_file() and path.read_bytes() == b"more\n":
            path.unlink()


def write_another():
    """A stage that was run by hand: dvc.lock and the cache have the earlier content."""
    shutil.rmtree(POOL)
    Path(POOL).mkdir()
    Path(POOL, "a").write_text("other\n")


@pytest.mark.parametrize("lose", [lose_the_cache, lose_one_file, write_another])
def test_the_last_copy_stays_until_it_is_called_that(repository, capsys, lose):
    lose()
    held = lose is not lose_the_cache  # the protocol
    assert guarded(clean.run, None, True) == 2
    out, err = capsys.readouterr()
    assert f"{POOL}, " in out and out.count("does not hold it whole\n") == (1 if held else 2)
    assert err.startswith(f"error: {POOL}") and "--even-the-last-copy" in err and err.count("\n") == 1
    assert outs() == {*NAMED, POOL, *(() if held else (PROTOCOL,))}
    assert guarded(clean.run, None, True, True) == 0
    assert "does not hold it whole; removed\n" in capsys.readouterr().out and outs() == NAMED


def test_a_flag_for_last_copies_alone_is_refused(repository, capsys):
    before = outs()
    assert guarded(clean.run, None, False, True) == 2
    assert "--unnamed" in capsys.readouterr().err and outs() == before


def test_what_a_stage_is_writing_is_not_listed(repository, capsys):
    Path("models/teachers/more.partial").mkdir()
    assert guarded(clean.run, None, True, True) == 0
    assert "partial" not in capsys.readouterr().out and "models/teachers/more.partial" in outs()


def test_old_work_goes_where_days_are_given(repository, capsys):
    for name, age in (("old", 40), ("new", 1)):
        folder = Path(".dvc/tmp/work", name)
        folder.mkdir(parents=True)
        (folder / "state").write_text("x" * 1000)
        os.utime(folder / "state", (time.time() - age * 86400,) * 2)
    work = lambda: {path.name for path in Path(".dvc/tmp/work").glob("*/")}  # noqa: E731
    assert guarded(clean.run, None, True) == 0 and work() == {"old", "new"}
    assert guarded(clean.run, 30.0) == 0 and work() == {"new"}
    assert "Freed 0.0 MB." in capsys.readouterr().out
