"""Digests of code: one for each module, unchanged by comments, docstrings, types of functions and layout.

DVC hashes the bytes of a file: a mended comment would retrain every teacher. Here a module is its syntax tree
without docstrings, without the annotations of parameters and returns, and without what stands under
``if TYPE_CHECKING:``. The form that is hashed is our own and not ``ast.dump``'s, which differs between versions of
Python: a team on several versions shares its results.

The code of a function is the closure of its module: every module of ours that importing it may run, imports inside
functions included, and the data files (templates, style sheets) of their packages. Progress, live curves and the place
of compiled code are left out: they are part of no result.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from distillation.runtime.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("distillation", "stages")
# What they print, and where compiled code is kept, is in no result; the formats of numbers beside them are in the report.
COSMETIC = ("distillation.console.progress", "distillation.console.live", "distillation.runtime.compiler")
_NO_DATA = (".py", ".pyc", ".pyo", ".swp", ".orig", ".rej", ".partial")
_UNWRITTEN = {
    "type_comment",
    "type_ignores",
    "kind",
    "ctx",
}  # spelling and use of a node: its place in the tree fixes both


def closure(*modules: str, root: Path = ROOT) -> dict[str, str]:
    """Digests all code of this project that may run when ``modules`` are imported and used.

    Keys of tasks hold it (``keys.inputs_of``), and the stage ``code`` writes it for every program, so that work is made
    again if its own code changed, and only then. Other packages, such as torch, are no part of it.

    Args:
        *modules: dotted names, like ``distillation.methods.dm``.
        root: the folder that holds the packages.

    Returns:
        The digest of each file, 16 hexadecimal digits, by its path relative to ``root``; sorted by path.

    Raises:
        BadInput: a module does not exist; or a file is not valid Python, or imports relatively.
    """
    todo, digests = [], {}
    for module in modules:
        todo += [_file(root, module), *_on_the_way(root, module)]
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix()
        if name in digests:
            continue
        digests[name], imports = _read(root, file)
        if file.name == "__init__.py":
            digests |= _data(root, file.parent)
        todo += imports
    return dict(sorted(digests.items()))


def module_digest(source: str) -> str:
    """Digests the source text of a module, which has to be valid Python, as ``closure`` does: 16 hexadecimal digits."""
    return _digest("".join(_canonical(ast.parse(source))).encode())


def _read(root: Path, file: Path) -> tuple[str, list[Path]]:
    """The digest of a file and the files that it imports, parsed once a process as long as the file is the same."""
    stat = file.stat()
    return _parsed(root, file, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _parsed(root: Path, file: Path, mtime: int, size: int) -> tuple[str, list[Path]]:
    """The digest of a file and the files that it imports; ``mtime`` (ns) and ``size`` (bytes) key the cache."""
    source = file.read_bytes()
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise BadInput(f"{file}, line {error.lineno}, is not valid Python: {error.msg}.") from error
    return _digest("".join(_canonical(tree)).encode()), list(_imports(tree, root, file))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _canonical(node: object) -> Iterator[str]:
    """Yields the parts of a text that stands for a syntax tree, the same under every supported Python.

    A node is written as ``(Name field=... field=...)`` with its fields sorted by name. Each carries its name, so that
    two different trees have different texts.
    """
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for field in _fields(type(node)):
            value = getattr(node, field, None)
            if field == "body" and isinstance(value, list):
                value = _statements(node, value)
            if isinstance(node, ast.JoinedStr) and isinstance(
                value, list
            ):  # 3.12 ends a nested format with an empty text
                value = [each for each in value if not (isinstance(each, ast.Constant) and each.value == "")]
            if value is None or value == [] or (field == "value" and isinstance(node, ast.Constant)):
                continue  # fields that a newer Python adds are empty while no code uses them
            yield f" {field}="
            yield from _canonical(value)
        if isinstance(node, ast.Constant):
            yield f" {_constant(node.value)}"
        yield ")"
    elif isinstance(node, list):
        for item in node:
            yield from _canonical(item)
    else:
        yield json.dumps(node)


@functools.cache
def _fields(kind: type[ast.AST]) -> tuple[str, ...]:
    """The names, sorted, of the fields of a kind of node that enter the digest: all but annotations of functions."""
    without = _UNWRITTEN
    if kind is ast.arg:
        without = without | {"annotation"}
    if kind in (ast.FunctionDef, ast.AsyncFunctionDef):
        without = without | {"returns"}
    return tuple(sorted(set(kind._fields) - without))


def _statements(node: ast.AST, body: list[ast.stmt]) -> list[ast.stmt]:
    """A body without docstring, ``pass`` and ``if TYPE_CHECKING:``.

    ``pass`` goes, too: a function that has only a docstring needs one once the docstring is removed.
    """
    documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    if documented and body and _is_text(body[0]):
        body = body[1:]
    return [each for each in body if not isinstance(each, ast.Pass) and not _for_types(each)]


def _is_text(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)


def _for_types(node: ast.AST) -> bool:
    """Whether a node is an ``if TYPE_CHECKING:`` without ``else``, which only type checkers read."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _constant(value: object) -> str:
    """Type and value of a constant as text.

    The type distinguishes 1, 1.0 and True. Text goes through JSON, as its ``repr`` depends on the version of Python.
    """
    if isinstance(value, str):
        return f"str {json.dumps(value)}"
    if isinstance(value, bytes):
        return f"bytes {value.hex()}"
    return f"{type(value).__name__} {value!r}"


def _imports(tree: ast.AST, root: Path, file: Path) -> Iterator[Path]:
    """Yields the project's files that a tree imports, including the ``__init__`` of every package above them.

    Raises:
        BadInput: it imports relatively (``from . import``).
    """
    for node in _running(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise BadInput(
                    f"{file}, line {node.lineno}: import by full name, so that what is imported can be followed."
                )
            # what is imported from a package may be a module or a name in one: only an existing file counts below
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] in PACKAGES and not any(_below(name, module) for module in COSMETIC):
                yield from _on_the_way(root, name)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if not _for_types(node):
            yield node
            todo += ast.iter_child_nodes(node)


def _below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _on_the_way(root: Path, name: str) -> Iterator[Path]:
    """Yields the files that run when a dotted name is imported: packages' ``__init__`` and, if any, the module."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:i])
        yield from (p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file())


def _file(root: Path, module: str) -> Path:
    """The file of a module or package; raises BadInput if there is none."""
    path = root.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    raise BadInput(f"{module} is no module of this project.")


def _data(root: Path, package: Path) -> dict[str, str]:
    """Digests, by path, of the data files in a package's folder, without leftovers of editors and of Python itself."""
    files = sorted(f for f in package.iterdir() if f.is_file() and not f.name.startswith((".", "#")))
    files = [f for f in files if f.suffix not in _NO_DATA and not f.name.endswith("~")]
    return {f.relative_to(root).as_posix(): _digest(f.read_bytes()) for f in files}
