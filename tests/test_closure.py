"""Law 1: a stage's declared code deps are exactly what it imports; console alone is exempt."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from stages import methods
from stages.teachers import objectives

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
NO_CODE_DEPS = {"check"}  # it can stop a run, but not change a result
VARIANTS = {  # the stages that load one file of a folder by name: the only dynamic imports
    "distill": ("stages/methods", methods.names()),
    "teacher": ("stages/teachers/objectives", objectives.names()),
}


def imports_of(file):
    """The files of ours that a file imports, packages' __init__ included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide what is imported"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            for i in range(1, len(parts) + 1):
                path = ROOT.joinpath(*parts[:i])
                found |= {p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()}
    return found


def closure(*roots):
    """Every file of ours that importing ``roots`` runs, relative to the repository, console left out."""
    todo, seen = [ROOT / r for r in roots], set()
    while todo:
        file = todo.pop()
        if file in seen or ROOT / "stages/console" in file.parents:
            continue
        seen.add(file)
        todo += imports_of(file)
    return {file.relative_to(ROOT) for file in seen}


def code_deps(stage, variant):
    body = WORKFLOW[stage].get("do", WORKFLOW[stage])
    deps = [re.sub(r"\$\{(method\.name|item\.objective)\}", variant, dep) for dep in body.get("deps", [])]
    return [Path(dep) for dep in deps if dep.startswith("stages/")]


def roots_of(stage, variant):
    body = WORKFLOW[stage].get("do", WORKFLOW[stage])
    script = body["cmd"].split("-m ")[1].split()[0].replace(".", "/") + ".py"
    return [script, *([f"{VARIANTS[stage][0]}/{variant}.py"] if stage in VARIANTS else [])]


def covers(dep, file):
    return dep == file or dep in file.parents


def undeclared(stage, variant, deps):
    return {file for file in closure(*roots_of(stage, variant)) if not any(covers(dep, file) for dep in deps)}


def variants(stage):
    return VARIANTS[stage][1] if stage in VARIANTS else [""]


CASES = [(stage, variant) for stage in WORKFLOW if stage not in NO_CODE_DEPS for variant in variants(stage)]


@pytest.mark.parametrize(("stage", "variant"), CASES)
def test_a_stage_declares_all_the_code_it_imports(stage, variant):
    assert undeclared(stage, variant, code_deps(stage, variant)) == set()


@pytest.mark.parametrize("stage", [s for s in WORKFLOW if s not in NO_CODE_DEPS])
def test_a_stage_declares_no_code_that_it_never_imports(stage):
    imported = set().union(*(closure(*roots_of(stage, v)) for v in variants(stage)))
    needless = {dep for dep in code_deps(stage, variants(stage)[0]) if not any(covers(dep, file) for file in imported)}
    assert needless == set()


@pytest.mark.parametrize("stage", [s for s in WORKFLOW if s not in NO_CODE_DEPS])
def test_taking_any_dep_out_is_noticed(stage):
    for i, dep in enumerate(code_deps(stage, variants(stage)[0])):
        rest = {v: [d for j, d in enumerate(code_deps(stage, v)) if j != i] for v in variants(stage)}
        assert any(undeclared(stage, v, rest[v]) for v in rest), f"{stage} would not miss {dep}"


def test_the_dynamic_imports_are_known():
    dynamic = [
        f for f in (ROOT / "stages").rglob("*.py") if "importlib" in f.read_text() or "__import__" in f.read_text()
    ]
    assert {f.parent.relative_to(ROOT).as_posix() for f in dynamic} == {folder for folder, _ in VARIANTS.values()}
    assert all(f.name == "__init__.py" for f in dynamic)


def test_runtime_imports_nothing_of_ours():
    for file in (ROOT / "stages/runtime").glob("*.py"):
        others = {f.relative_to(ROOT).as_posix() for f in imports_of(file)} - {"stages/__init__.py"}
        assert all(f.startswith("stages/runtime/") for f in others), (file, others)


def test_nobody_imports_a_stage_script():
    scripts = {ROOT / roots_of(stage, "")[0] for stage in WORKFLOW}
    asking = {ROOT / "stages" / name for name in ("doctor.py", "recipes.py")}  # commands, which ask check
    for file in {*(ROOT / "stages").rglob("*.py")} - asking:
        assert not imports_of(file) & scripts, file
