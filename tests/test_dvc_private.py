"""What is taken from the inside of DVC is there, and gives what DVC itself says."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from distillation.runtime import dvc_private
from distillation.runtime.dvc_hash import dvc_hash
from distillation.runtime.errors import BadInput

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A DVC repository with a folder and a file in its cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    subprocess.run(["git", "init", "-q"], check=True)
    for name in ("b/2", "b/1", "a", "a-b"):  # an order in which paths and their parts differ
        Path("folder", name).parent.mkdir(parents=True, exist_ok=True)
        Path("folder", name).write_text(name)
    Path("file").write_text("file")
    with Repo.init() as repo:
        repo.add(["folder", "file"])
    return tmp_path


def objects():
    return {"".join(path.parts[-2:]): path for path in Path(".dvc/cache/files/md5").rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["folder", "file"])
def test_hashes_are_those_of_dvc(repository, name):
    assert f"md5: {dvc_hash(name)}\n" in Path(f"{name}.dvc").read_text()


def test_the_cache_holds_a_folder_only_with_all_its_files(repository):
    folder, file = dvc_hash("folder"), dvc_hash("file")
    assert dvc_private.cached(folder) and dvc_private.cached(file)
    listing = json.loads(objects()[folder].read_text())
    objects()[listing[-1]["md5"]].unlink()
    assert not dvc_private.cached(folder) and dvc_private.cached(file)
    objects()[file].unlink()
    assert not dvc_private.cached(file) and not dvc_private.cached("0" * 32)


@pytest.mark.parametrize("what", ["file", "folder", "a file of the folder"])
def test_a_cache_with_one_other_bit_does_not_hold_what_it_names(repository, what):
    """Else ``clean`` would remove the last sound copy."""
    whole = dvc_hash("file" if what == "file" else "folder")
    assert dvc_private.cached(whole)
    name = json.loads(objects()[whole].read_text())[0]["md5"] if what.startswith("a ") else whole
    content = bytearray(objects()[name].read_bytes())
    content[-1] ^= 1
    objects()[name].chmod(0o644)
    objects()[name].write_bytes(content)
    assert not dvc_private.cached(whole)


def test_the_repository_in_plain_values(repository):
    folder, links = dvc_private.cache()
    assert folder == repository / ".dvc/cache/files/md5" and set(links) <= {"reflink", "copy", "hardlink", "symlink"}
    subprocess.run(["dvc", "remote", "add", "-q", "store", str(repository / "store")], check=True)
    assert dvc_private.remotes() == {"store": str(repository / "store")} and not dvc_private.has_content("store")
    assert dvc_private.status() == {} and dvc_private.waiting() == set() and dvc_private.abandoned() == {}
    Path("file").write_text("another")
    assert list(dvc_private.status()) == ["file.dvc"]


def test_a_folder_without_a_repository_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"DVC does not read this repository: you are not inside .*\."):
        dvc_private.status()


def test_a_dvc_that_lacks_something_is_one_sentence(repository, monkeypatch):
    monkeypatch.delattr("dvc.repo.experiments.Experiments.celery_queue")
    with pytest.raises(BadInput, match=r"the inside of DVC .* \(.*celery_queue.*\): install dvc=="):
        dvc_private.waiting()


def test_the_version_that_was_tried_is_the_one_that_is_installed():
    assert f"\ndvc=={dvc_private.TRIED} " in (ROOT / "requirements.txt").read_text()


def test_nothing_else_imports_dvc():
    imports = re.compile(r"^\s*(?:from|import) dvc(?!\.api\b)(?:\.|_| )", re.MULTILINE)
    found = [p for f in ("distillation", "stages") for p in (ROOT / f).rglob("*.py") if imports.search(p.read_text())]
    assert {path.name for path in found} == {"dvc_private.py"}
