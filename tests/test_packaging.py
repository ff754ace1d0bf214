"""What is installed: every import of a third party is named, pinned, and the package is importable from anywhere."""

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile

import pytest

from distillation.datasets import downloads
from tests.helpers.clones import ROOT

DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "ruamel": "ruamel-yaml", "open_clip": "open-clip-torch"}
OPTIONAL = ("requirements-foundation.txt", "requirements-parquet.txt")
LOCKED = ("requirements.txt", "requirements-dev.txt", *OPTIONAL)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def running(node):
    """All nodes but those that only type checkers read."""
    if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
        yield node
        for child in ast.iter_child_nodes(node):
            yield from running(child)


def imported():
    """Distributions of the third-party modules that running our code imports, those inside functions included."""
    files = [*ROOT.glob("distillation/**/*.py"), *ROOT.glob("stages/*.py")]
    modules = set()
    for node in (node for file in files for node in running(ast.parse(file.read_text()))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    theirs = modules - sys.stdlib_module_names - {"distillation", "stages"}
    return {DISTRIBUTIONS.get(module, module.replace("_", "-")) for module in theirs}


def named(file):
    """Distributions that a file of requirements names."""
    lines = [
        re.match(r"[\w.-]+", line) for line in (ROOT / file).read_text().splitlines() if line[:1] not in ("#", "-")
    ]
    return {re.sub(r"[._]", "-", line[0].lower()) for line in lines if line}


def test_every_import_of_a_third_party_is_a_requirement():
    assert imported() <= named("requirements.in").union(*map(named, OPTIONAL))


def test_every_requirement_is_pinned():
    assert named("requirements.in") <= named("requirements.txt")
    for file in LOCKED[1:]:
        assert named(file.replace(".txt", ".in")) == named(file), f"{file} is not what its .in names"


@pytest.mark.parametrize("file", LOCKED)
def test_every_pin_has_the_hashes_of_its_files(file):
    text = (ROOT / file).read_text()
    pins = re.split(r"\n(?=[\w-])", re.sub(r"^(#|-r).*\n", "", text, flags=re.MULTILINE))
    for pin in pins:
        assert re.match(r"[\w.-]+==[\w.]+( ; [^\\]+)? \\\n( {4}--hash=sha256:[0-9a-f]{64}( \\)?\n?)+$", pin), pin[:80]
    assert len(pins) == len(re.findall(r"^[\w.-]+==", text, flags=re.MULTILINE))
    assert ("-r requirements.txt\n" in text) == (file != "requirements.txt")


@pytest.fixture
def source(tmp_path):
    """A copy of what is packaged."""
    for name in [*tracked(), "pyproject.toml", "README.md", "LICENSE", "requirements.in"]:
        place = tmp_path / "source" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((ROOT / name).read_bytes())
    return tmp_path / "source"


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split("\0") if name.startswith(("distillation/", "stages/"))}


def pip(*args):
    """pip without the network."""
    subprocess.run([sys.executable, "-m", "pip", "-q", *map(str, args)], check=True, capture_output=True)


BARE = ["--no-deps", "--no-build-isolation", "--no-index"]


def test_installed_in_place_it_is_imported_from_any_folder(source, tmp_path):
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(sysconfig.get_path("purelib"))  # what is installed here: setuptools, torch
    pip("--python", python, "install", *BARE, "-e", source)
    code = "import distillation, stages; from distillation import params; print(distillation.__file__)"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == f"{source}/distillation/__init__.py\n"


def test_a_wheel_holds_all_code_and_its_data(source, tmp_path):
    pip("wheel", *BARE, "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("dataset_distillation-*.whl")
    with zipfile.ZipFile(wheel) as content:
        assert tracked() <= set(content.namelist())
        metadata = content.read(f"dataset_distillation-{PROJECT['version']}.dist-info/METADATA").decode()
    assert f"Requires-Python: {PROJECT['requires-python']}\n" in metadata
    required = re.findall(r"Requires-Dist: ([\w.-]+)", metadata)
    assert {re.sub(r"[._]", "-", name) for name in required} == named("requirements.in")


def test_a_download_says_the_name_of_the_project():
    assert PROJECT["name"] == downloads.AGENT


def test_no_test_imports_another():
    """What two tests share lies in tests/helpers."""
    files = [*(ROOT / "tests").glob("*.py"), *(ROOT / "tests/helpers").glob("*.py")]
    shared = r"^\s*(from|import) tests(\.(?!helpers\b)| import (?!helpers\b))"
    assert len(files) > 50 and [file.name for file in files if re.search(shared, file.read_text(), re.M)] == []
