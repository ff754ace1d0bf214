"""The documents: links lead somewhere, files and functions that they name exist, commands are ones that exist."""

import ast
import re
import subprocess
import sys

import pytest
import yaml

from distillation import methods
from distillation.teachers import objectives
from tests.helpers.clones import ROOT

# The change log names what was.
ROOT_PAGES = [page for page in ROOT.glob("*.md") if page.name != "CHANGELOG.md"]
PAGES = sorted([*ROOT_PAGES, *ROOT.glob("docs/**/*.md"), *ROOT.glob("reports/**/*.md")])
CODE = ("distillation", "stages", "tests", "benchmarks", "studies")
FILES = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
# Written by the reader of CONTRIBUTING; of the official code.
EXAMPLES = {"distillation/methods/mean.py", "methods/mean.py", "validate.py"}
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


def anchors(page):
    """Those that Git hosts give the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", h).lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def names_in(path):
    """Functions, classes, methods and top-level names of a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_files_and_functions_that_a_page_names_exist(page):
    for file, name in re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)(?:: ?([\w.]+))?`", page.read_text()):
        if file in EXAMPLES:
            continue
        where = [path for path in FILES if path.as_posix().endswith(f"/{file}")]
        assert where, f"{page.name} names {file}"
        if name:
            assert any(set(name.split(".")) <= names_in(path) for path in where), f"{page.name} names {name} in {file}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_that_a_page_names_exist(page):
    text = page.read_text()
    commands = {path.stem for path in (ROOT / "distillation/commands").glob("[a-z]*.py")}
    stages = {path.stem for path in (ROOT / "stages").glob("[a-z]*.py")}
    for name in re.findall(r"python -m distillation ([a-z]+)", text):
        assert name in commands, name
    for name in re.findall(r"python -m stages\.([a-z]+)", text):
        assert name in stages, name
    for folder, name in re.findall(r"python -m (benchmarks|studies)\.([a-z_]+)", text):
        assert (ROOT / folder / f"{name}.py").is_file(), f"{folder}.{name}"


def keys(values, before=""):
    for key, value in values.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{before}{key}.")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_overrides_name_keys_of_params(page):
    """What ``-S`` changes is there; what it adds or removes carries its sign."""
    known = set(keys(yaml.safe_load((ROOT / "params.yaml").read_text())))
    for name in re.findall(r"-S '?([\w.]+)=", page.read_text()):
        if name not in ("key", "teacher.x") and not name.startswith("method.mean_pixels"):
            assert name in known, name


def test_every_method_and_objective_has_its_page():
    selection = (ROOT / "docs/methods/selection.md").read_text()
    for name in methods.names():
        assert (ROOT / f"docs/methods/{name}.md").is_file() or f"## {name}" in selection, name
    page = (ROOT / "docs/objectives.md").read_text()
    assert all(f"{name}" in page for name in objectives.names())


def test_the_readme_is_short_and_leads_with_its_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 170
    assert lines.index("## Run it") < lines.index("## Run the tests") < lines.index("## Results")


PLATFORMS = (ROOT / "docs/platforms.md").read_text()


def test_the_command_of_the_licences_lists_every_distribution_with_one():
    script = re.search(r"python - <<'END'\n(.*?)\nEND\n", PLATFORMS, re.S)[1]
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    listed = {name: licence for name, _, licence in (line.split("\t") for line in done.stdout.splitlines())}
    assert {"torch", "dvc", "numpy", "pytest"} <= set(listed) and all(listed.values())
    assert listed["numpy"].startswith("BSD-3-Clause")


def test_the_installation_without_a_gpu_leaves_out_the_gpu_and_nothing_else():
    """The filter that the page has for requirements.txt, by the names that it keeps and drops."""
    (script,) = set(re.findall(r"awk '(.*torchvision.*)' requirements", PLATFORMS))
    kept = subprocess.run(["awk", script, ROOT / "requirements.txt"], check=True, capture_output=True, text=True).stdout
    names = [set(re.findall(r"^([\w.-]+)==", text, re.M)) for text in ((ROOT / "requirements.txt").read_text(), kept)]
    gone = names[0] - names[1]
    assert {"torch", "torchvision", "triton", "cuda-toolkit"} < gone and "torchmetrics" not in gone
    assert all(name in ("torch", "torchvision", "triton") or name.startswith(("nvidia-", "cuda-")) for name in gone)
    blocks = re.split(r"\n(?=[\w-])", kept)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block), "a name without its hashes"
    for name, version in re.findall(r"(torch|torchvision)==([\d.]+)", PLATFORMS):
        assert f"\n{name}=={version} " in (ROOT / "requirements.txt").read_text()


@pytest.mark.parametrize("row", ["clom/dc-clom-cifar10-10"])
def test_the_readmes_recipe_exists(row):
    done = subprocess.run(
        [sys.executable, "-m", "distillation", "recipes", "list", row], cwd=ROOT, check=False, capture_output=True
    )
    assert done.returncode == 0
