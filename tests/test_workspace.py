"""What lies outside params.yaml: said before DVC ends in words of its own."""

import re
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from distillation.checks import check_all, copy_notes, file_notes
from distillation.commands import doctor
from distillation.runtime import dvc_private
from distillation.runtime.errors import BadInput
from tests.helpers.clones import ROOT
from tests.helpers.parameters import product_params


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A function that makes a repository of a name, with some code, the folder of the test."""

    def make(name):
        (tmp_path / name / "distillation").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.delenv("DVC_ROOT", raising=False)
        subprocess.run(["git", "init", "-q"], check=True)
        Path("distillation/known.py").touch()
        subprocess.run(["git", "add", "distillation"], check=True)
        with Repo.init():
            return tmp_path / name

    return make


@pytest.fixture
def copy(repository, tmp_path, monkeypatch):
    """A repository, while the folder of the test is the copy in which DVC runs an experiment."""
    root = repository("root")
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(root))
    return root


def test_a_folder_beyond_ascii_is_said_with_its_cure_and_the_cure_works(repository):
    repository("größe")
    (said,) = copy_notes()
    assert said.startswith("no experiment starts by --temp or in the queue: the path of DVC's cache is not all ASCII")
    assert "`dvc config --local cache.dir /ascii/path`" in said
    subprocess.run(["dvc", "config", "--local", "cache.dir", "/nowhere/cache"], check=True)
    assert list(copy_notes()) == []


def test_a_git_configuration_beyond_ascii_is_said_by_the_doctor(repository):
    repository("plain")
    assert list(doctor.not_copied()) == [] == list(copy_notes())
    subprocess.run(["git", "config", "user.name", "Jürgen"], check=True)
    (said,) = doctor.not_copied()
    assert "the content of .git/config is not all ASCII" in said and said.endswith("write it in ASCII.")


def test_what_dvc_copies_is_what_it_reads(repository):
    root = repository("größe")
    assert dvc_private.copied_texts()[dvc_private.CACHE] == str(root / ".dvc/cache")


def test_code_that_a_copy_lacks_is_said(copy):
    assert list(copy_notes()) == []
    (copy / "distillation" / "mine.py").touch()
    (said,) = copy_notes()
    assert said.startswith("this copy of the repository lacks distillation/mine.py, which Git does not track: ")
    assert "`git add -N distillation/mine.py`" in said
    subprocess.run(["git", "-C", str(copy), "add", "-N", "distillation/mine.py"], check=True)
    assert list(copy_notes()) == []


OWN = {"name": "imagefolder", "archive": "own.tar"}
IMPORTED = {"source": "dataset", "objective": "imported", "networks": ["ConvNet"]}
FILES = {
    "dataset.archive": {"dataset.name": "imagefolder", "dataset.archive": "own.tar"},
    "sources.a.archive": {"sources.a": {**OWN, "sha256": "0"}},
    "targets.a.archive": {"targets.a": {**OWN, "sha256": "0", "colour": "grey"}},
    "method.imported.file": {"method.name": "imported", "method.imported.file": "own.tar"},
    "teacher.a.imported.file": {
        "teacher.a": {**IMPORTED, "imported": {"from": "file", "file": "own.tar", "sha256": "0"}}
    },
}


@pytest.mark.parametrize("path", FILES)
def test_a_missing_file_is_said_and_in_a_copy_where_it_is(copy, path):
    params = product_params(FILES[path])
    (said,) = file_notes(params)
    assert said == f"{path} is own.tar, which does not exist; a relative path starts at the repository's root."
    (copy / "own.tar").touch()
    (said,) = file_notes(params)
    reason = "which this copy of the repository lacks, as neither Git nor DVC tracks it"
    assert said == f"{path} is own.tar, {reason}: give the path {copy / 'own.tar'}."
    Path("own.tar").touch()
    assert list(file_notes(params)) == []


def test_what_no_parameter_uses_is_not_looked_for(copy):
    params = product_params({"method.imported.file": "own.tar", "objectives.imported.file": "own.tar"})
    check_all(params)
    assert list(file_notes(params)) == []


TEMPLATED = {  # what dvc.yaml interpolates, also through the items of a foreach
    *re.findall(r"\$\{([a-z.]+)\}", (ROOT / "dvc.yaml").read_text()),
    *("teacher.main.source", "teacher.main.objective"),
} - {"key", "item", "item.source", "item.objective"}


@pytest.mark.parametrize("value", [None, 5, "absent"])
@pytest.mark.parametrize("path", sorted(TEMPLATED))
def test_whatever_dvc_interpolates_is_checked_without_dvc(path, value):
    """DVC's own words about such a key, before any stage runs, name a place in dvc.yaml."""
    params = product_params({path: value})
    above, _, last = path.rpartition(".")
    if value == "absent":
        del (params.value(above) if above else params.values)[last]
    with pytest.raises(BadInput, match=re.escape(last)):
        check_all(params)
