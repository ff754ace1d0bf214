"""The stage ``code``: what an edit changes reruns, and nothing else does."""

import ast
import json
import shutil
import subprocess
import sys

import pytest
import yaml

from distillation import methods
from distillation.labels import kinds
from distillation.runtime.errors import BadInput
from distillation.runtime.fingerprint import closure, module_digest
from distillation.teachers import objectives
from stages.code import VARIANTS, programs
from tests.helpers.clones import ROOT

WORKFLOW = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Who may import whom: a package only those before it.
ORDER = (
    *(
        "runtime",
        "console",
        "bounds",
        "params",
        "paths",
        "data",
        "datasets",
        "networks",
        "augment",
        "training",
        "teachers",
    ),
    *(
        "methods",
        "labels",
        "evaluation",
        "checks",
        "recipes",
        "report",
        "compare",
        "export",
        "api",
        "commands",
        "stages",
    ),
)


@pytest.fixture
def tree(tmp_path):
    """A copy of all code."""
    for package in ("distillation", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def digests(tree):
    """Program to its digests, as the stage writes them in that folder."""
    subprocess.run([sys.executable, "-m", "stages.code"], cwd=tree, check=True)
    return {path.stem: json.loads(path.read_text()) for path in (tree / "data/code").glob("*.json")}


def changed(before, after):
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def every(script, but=()):
    return {name for name, _ in programs() if name.split("-")[0] == script and name not in but}


STUDENTS = {"evaluate", "baseline", "whole"}
RECOVERING = {"distill-scdd", "distill-sre2l", "distill-cda"}
EDITS = [  # (file, what it holds, what stands there instead, the programs that change)
    ("distillation/methods/dm.py", "\nimport ", "\nimport abc\nimport ", {"distill-dm", "check"}),
    ("distillation/methods/families/recover.py", "\nimport ", "\nimport abc\nimport ", {*RECOVERING, "check"}),
    ("distillation/teachers/objectives/dino.py", "\nimport ", "\nimport abc\nimport ", {"teacher-dino", "check"}),
    ("distillation/labels/kinds/hard.py", "\nfrom ", "\nimport abc\nfrom ", {"relabel-hard", "check"}),
    ("distillation/evaluation/lessons.py", "\nfrom ", "\nimport abc\nfrom ", {"evaluate"}),
    ("distillation/evaluation/assess/gradients.py", "ndim > 1", "ndim > 0", {"assess"}),
    ("distillation/report/style.css", "0", "1", {"report"}),
    ("distillation/report/page.html.j2", "a", "b", {"report"}),
    ("distillation/console/format.py", "\nimport ", "\nimport abc\nimport ", {"report"}),
    ("distillation/console/progress.py", "\nimport ", "\nimport abc\nimport ", set()),
    ("distillation/runtime/compiler.py", "\nimport ", "\nimport abc\nimport ", set()),
    ("stages/whole.py", '"whole"', '"all"', {"whole"}),
]


@pytest.mark.parametrize(("file", "old", "new", "expected"), EDITS, ids=[edit[0] for edit in EDITS])
def test_an_edit_changes_exactly_what_runs_it(tree, file, old, new, expected):
    before, text = digests(tree), (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new, 1))
    assert changed(before, digests(tree)) == expected


def test_words_and_layout_change_nothing(tree):
    """A docstring, comments, annotations, blank lines and line breaks in every file."""
    before = digests(tree)
    for file in [*tree.glob("distillation/**/*.py"), *tree.glob("stages/*.py")]:
        parsed = ast.parse(file.read_text())
        for node in ast.walk(parsed):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                if ast.get_docstring(node):
                    node.body[0].value.value = "Other words."
                else:
                    node.body.insert(0, ast.Expr(ast.Constant("New words.")))
            if isinstance(node, ast.FunctionDef):
                node.returns = ast.Name("object")
                for argument in node.args.args:
                    argument.annotation = ast.Constant("anything")
        file.write_text(f"# A comment.\n{ast.unparse(ast.fix_missing_locations(parsed))}\n\n# Another.\n")
    (tree / "stages/.whole.py.swp").write_text("an editor's")
    (tree / "distillation/report/page.html.j2~").write_text("an editor's")
    assert digests(tree) == before


def test_a_new_module_needs_no_list(tree):
    """A new method is a program of its own; a module that an old one imports enters that one."""
    before = digests(tree)
    (tree / "distillation/methods/newest.py").write_text((tree / "distillation/methods/random.py").read_text())
    (tree / "distillation/training/extra.py").write_text("FACTOR = 2\n")
    path = tree / "distillation/methods/dm.py"
    path.write_text(
        path.read_text() + "\n\ndef late():\n    from distillation.training import extra\n\n    return extra\n"
    )
    after = digests(tree)
    assert changed(before, after) == {"distill-newest", "distill-dm", "check"}
    assert "distillation/training/extra.py" in after["distill-dm"]  # though it is imported inside a function
    (tree / "distillation/training/extra.py").write_text("FACTOR = 3\n")
    assert changed(after, digests(tree)) == {"distill-dm", "check"}


def test_what_only_type_checkers_read_is_no_code(tree):
    before = digests(tree)
    path = tree / "distillation/methods/random.py"
    path.write_text(path.read_text() + "\nif TYPE_CHECKING:\n    from distillation.export import card\n")
    assert digests(tree) == before


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 1", "x = 1.0", False),
        ("x = 1", "x = True", False),
        ("x = 'a'", 'x = "a"', True),
        ("x = 'a'", "x = b'a'", False),
        ("x = (1,\n  2)", "x = 1, 2", True),
        ("def f(a: int) -> str: return a", "def f(a): return a", True),
        ("def f(a): return a", "def f(a=None): return a", False),
        ("class A:\n  x: int", "class A:\n  x: float", False),  # a schema reads these
        ("def f():\n  'doc'", "def f():\n  pass", True),
        ("x = 'text'\n'doc'", "x = 'text'", False),  # no docstring there; told apart to be safe
        ("a = b", "a == b", False),
        ("del a.b", "a.b", False),
        ("x = f'{a!r:>{w}}'", "x = f'{a!s:>{w}}'", False),
        ("x = [*a]", "x = [a]", False),
        ("if TYPE_CHECKING:\n  x = 1", "pass", True),
        ("if TYPE_CHECKING:\n  x = 1\nelse:\n  y = 1", "if TYPE_CHECKING:\n  x = 1\nelse:\n  y = 2", False),
    ],
)
def test_what_counts_as_the_same_code(one, other, same):
    assert (module_digest(one) == module_digest(other)) == same


def test_digests_do_not_depend_on_the_version_of_python():
    """Those of one text, written down: another Python must give the same."""
    text = '''"""Words."""
import os


@staticmethod
def f(a, /, b: int = 1, *c, d=None, **e) -> str:
    """More."""
    with open(a) as g, h:
        yield [x async for x in y if not x]
    match b:
        case {'k': [1, *_]} | None:
            return f'{a!r:>{b}} é' '😀'
    try:
        lambda z: (w := z)
    except* OSError as error:
        raise ValueError(1e-05, 1j, ..., b'\\x00') from error
    global q
    a[1:2, ::3] @= -b if c else ~d
'''
    assert module_digest(text) == "1cc4b8b72a92a526"


def test_code_that_is_not_python_is_one_sentence(tree):
    (tree / "distillation/methods/dm.py").write_text("def f(:\n")
    done = subprocess.run([sys.executable, "-m", "stages.code"], cwd=tree, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "distillation/methods/dm.py, line 1, is not valid Python" in done.stderr


def test_a_module_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="no module of this project"):
        closure("distillation.methods.nothing")


# Slow to import, and used by few stages, or at the end of their work: each import stands in the function that needs it.
HEAVY = ("jinja2", "kornia", "lightly", "matplotlib", "pandas", "scipy", "sklearn", "torchvision", "triton")


@pytest.mark.parametrize(
    ("scripts", "heavy"),
    [
        (["code"], (*HEAVY, "torch")),  # reads code and computes nothing
        (["report"], tuple(sorted(set(HEAVY) - {"jinja2", "matplotlib", "pandas"}))),  # draws and tabulates
        (sorted({path.stem for path in ROOT.glob("stages/[a-z]*.py")} - {"code", "report"}), HEAVY),
    ],
    ids=lambda value: "" if len(value) > 1 else value[0],
)
def test_a_stage_starts_without_what_it_may_not_need(scripts, heavy):
    script = (
        "import importlib, sys\n"
        f"for name in {scripts!r}:\n"
        "    importlib.import_module(f'stages.{name}')\n"
        f"    if found := [module for module in {heavy!r} if module in sys.modules]:\n"
        "        sys.exit(f'{name} loads {found}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_stage_depends_on_its_own_code_and_no_other_file_of_code():
    for name, body in WORKFLOW.items():
        body = body.get("do", body)
        deps = [
            dep for dep in body["deps"] if "code" in dep or dep.endswith(".py") or dep in ("stages", "distillation")
        ]
        script = body["cmd"].split("-m stages.")[1].split()[0]
        if name == "code":
            assert deps == ["distillation", "stages"]
            continue
        (dep,) = deps
        pattern = dep.removeprefix("data/code/").removesuffix(".json").replace("${method.name}", "dm")
        pattern = pattern.replace("${item.objective}", "supervised").replace("${relabel.kind}", "keep")
        assert pattern.split("-")[0] == script and pattern in {program for program, _ in programs()}


def test_the_programs_are_all_scripts_and_variants():
    scripts = {path.stem for path in (ROOT / "stages").glob("[a-z]*.py")}
    assert {name.split("-")[0] for name, _ in programs()} == scripts
    assert every("distill") == {f"distill-{name}" for name in methods.names()}
    assert every("teacher") == {f"teacher-{name}" for name in objectives.names()}
    assert every("relabel") == {f"relabel-{name}" for name in kinds.names()}


def test_the_dynamic_imports_are_known():
    """Variants, which ``programs`` names; commands and the notebook's API, which are in no stage."""
    dynamic = {
        path.relative_to(ROOT).as_posix()
        for path in [*ROOT.glob("distillation/**/*.py"), *ROOT.glob("stages/*.py")]
        if any(word in path.read_text() for word in ("importlib", "__import__", "runpy", "exec("))
    }
    assert dynamic == {"distillation/runtime/variants.py", "distillation/__main__.py", "distillation/__init__.py"}


def test_whoever_loads_variants_is_a_program_with_variants():
    """A script whose code loads a variant by name must be told apart by it, or have them all."""
    loaders = {f"{package.__name__.replace('.', '/')}/__init__.py" for package in VARIANTS.values()}
    for name, modules in programs():
        used = {
            package
            for package in loaders
            for file in closure(*modules)
            if file.endswith(".py")
            and f"{package.rpartition('/')[0].rpartition('/')[2]}.load(" in (ROOT / file).read_text()
        }
        assert len(modules) > 1 or not used, (name, used)


def imported(path):
    """(line, name) of what a file imports from us."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in ("distillation", "stages"))


def layer(name):
    """The place in ``ORDER`` of a dotted name."""
    parts = name.split(".")
    return ORDER.index("stages" if parts[0] == "stages" else parts[1])


def test_no_import_runs_up():
    up = []
    for path in [*ROOT.glob("distillation/*/**/*.py"), *ROOT.glob("distillation/[a-z]*.py"), *ROOT.glob("stages/*.py")]:
        own = layer(".".join(path.relative_to(ROOT).with_suffix("").parts))
        up += [(path.name, line, name) for line, name in imported(path) if layer(name) > own]
    assert up == []


def code_lines(path):
    """How many lines of a file are neither blank nor comment nor docstring."""
    lines, words = path.read_text().splitlines(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node):
            words |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(bool(line.split("#")[0].strip()) and i not in words for i, line in enumerate(lines, 1))


def test_stages_are_scripts_that_nobody_imports():
    for path in ROOT.glob("distillation/**/*.py"):
        assert not [name for _, name in imported(path) if name.startswith("stages")], path
    for path in ROOT.glob("stages/[a-z]*.py"):
        assert code_lines(path) <= 60, f"{path}: a stage script is short, its work is in distillation"


def test_every_folder_that_the_report_reads_is_in_a_fresh_clone():
    """Those that stages of a foreach fill may be filled by none, and DVC wants a dependency to exist."""
    made = {out for body in WORKFLOW.values() for out in body.get("do", body).get("outs", []) if isinstance(out, str)}
    for dep in WORKFLOW["report"]["deps"]:
        if dep.startswith(("reports/", "models/")) and dep not in made:
            assert (ROOT / dep / ".gitignore").is_file(), dep


def test_every_stage_and_command_shows_an_example():
    """An example line in the docstring, which is its ``--help``."""
    for path in [*ROOT.glob("stages/[a-z]*.py"), *ROOT.glob("distillation/commands/[a-z]*.py")]:
        call = f"stages.{path.stem}" if path.parent.name == "stages" else f"distillation {path.stem}"
        assert f"\n    python -m {call}" in ast.get_docstring(ast.parse(path.read_text())), path
