"""Keys of work: digests of all that a piece of work reads, and of nothing else.

Work is a function ``work(job, task, device)``. Its result depends on its code, on its job (a dataclass: parameters, and
paths of data), on the data in those paths, and on the environment. The key is a digest of exactly these, taken from the
job itself: a value outside the job cannot change the result, and no field of it can be forgotten.
"""

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from distillation.runtime.files import regular
from distillation.runtime.fingerprint import PACKAGES, closure


def inputs_of(work: Callable, job: object, environment: object, modules: Iterable[str] = ()) -> dict:
    """Lists all that the result of ``work`` for ``job`` depends on, as JSON values.

    ``Task.of`` makes the task's key of it and stores it beside the work, where ``explain`` compares it with later ones.

    Args:
        work: top-level function of (job, task, device), or a ``functools.partial`` of one.
        job: dataclass; ``described`` lists the types that its fields may have.
        environment: the machine's part: a ``device.Environment``, or an empty dict where the key is used on one
            machine.
        modules: dotted names of the modules that ``work`` imports by name, such as ``distillation.methods.dm``: the
            code alone does not show which ones.

    Returns:
        A dict with ``work`` (module and name of the function), ``code`` (digests by path, see ``fingerprint.closure``),
        ``job`` and ``environment`` (see ``described``).

    Raises:
        BadInput: a path of the job does not exist.
        TypeError: a field of the job has a type that has no place in a key.
    """
    ours = [module for module in _modules_in(job) if module.split(".")[0] in PACKAGES]
    work = getattr(work, "func", work)  # of a partial, whose arguments belong to one of the modules
    return {
        "work": f"{work.__module__}:{work.__qualname__}",
        "code": closure(work.__module__, *modules, *ours),
        "job": described(job),
        "environment": described(environment),
    }


def described(value: object) -> object:
    """Converts a value of a job to JSON values.

    - Numbers, text, booleans and None stay. Lists, tuples and ranges become lists, dicts stay dicts.
    - A dataclass or a section of params.yaml becomes a dict of its fields; a dataclass also has ``kind``, its class
      name.
    - A path becomes a dict of its name and the SHA-256 of its content, of which only the SHA-256 enters a key.
    - An object with a text ``key`` (a Task that has to finish first) becomes ``{"key": ...}``.
    - A function that is not nested in another becomes its module and name.

    Raises:
        BadInput: a path does not exist.
        TypeError: the value has any other type, so that nothing is left out of a key in silence.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return {"path": value.as_posix(), "sha256": content_digest(value)}
    if isinstance(value, BaseModel):  # by field: pydantic's own dump leaves out the fields that a subclass adds
        fields = type(value).model_fields
        return {field.alias or name: described(getattr(value, name)) for name, field in fields.items()}
    if isinstance(value, (list, tuple, range)):
        return [described(item) for item in value]
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(key := getattr(value, "key", None), str):  # before dataclasses: a Task is one
        return {"key": key}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: described(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}  # two sources may have the same fields
    if inspect.isfunction(value) and "<" not in value.__qualname__:  # a closure's values are not in its name
        return f"{value.__module__}:{value.__qualname__}"
    raise TypeError(f"{type(value).__name__} has no place in a key")


def _modules_in(value: object) -> Iterator[str]:
    """Yields the modules of the functions that a job holds, and of the classes of its values.

    The work may call these functions, and methods of these classes, without importing their modules itself.
    """
    if inspect.isfunction(value):
        yield value.__module__
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _modules_in(item)
    elif isinstance(value, dict):
        yield from _modules_in(list(value.values()))
    elif isinstance(value, BaseModel):
        yield type(value).__module__
        yield from _modules_in([getattr(value, name) for name in type(value).model_fields])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "key"):
        yield type(value).__module__
        yield from _modules_in([getattr(value, field.name) for field in dataclasses.fields(value)])


def key_of(inputs: object) -> str:
    """Digests what ``inputs_of`` returns, or a part of it, to 16 hexadecimal digits.

    The names of files are left out: the same data under another path gives the same key.
    """
    return digest(_nameless(inputs))


def digest(value: object) -> str:
    """Digests a JSON value: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def content_digest(path: Path) -> str:
    """Computes the SHA-256 (64 hexadecimal digits) of a file, or of the names and contents of all files in a folder.

    Hidden files (``.name``), and files in hidden folders, are left out. A file that a process has read already is read
    again only if its size or time of change differs.

    Raises:
        BadInput: there is no such file or folder.
    """
    if not path.is_dir():
        return _file_digest(regular(path))
    files = sorted((file.relative_to(path), file) for file in path.rglob("*") if file.is_file())
    visible = [(name, file) for name, file in files if not any(part.startswith(".") for part in name.parts)]
    listing = [[name.as_posix(), _file_digest(file)] for name, file in visible]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    stat = path.stat()
    return _digest_of_state(path.resolve(), stat.st_mtime_ns, stat.st_size)


@functools.cache
def _digest_of_state(path: Path, mtime: int, size: int) -> str:
    """Digests a file; the result is cached for the process, as all jobs of a stage name the same data.

    ``mtime`` (ns) and ``size`` (bytes) are there for the cache alone: a file that changed has others.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _nameless(value: object) -> object:
    """Described inputs with each path reduced to its digest."""
    if isinstance(value, dict):
        if value.keys() == {"path", "sha256"}:
            return value["sha256"]
        return {key: _nameless(item) for key, item in value.items()}
    return [_nameless(item) for item in value] if isinstance(value, list) else value
