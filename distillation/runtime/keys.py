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
    """Lists all that ``work`` reads for ``job``, as JSON values.

    Args:
        work: top-level function.
        job: dataclass; ``described`` lists the types of its fields.
        environment: dataclass of the machine's part in the bits.
        modules: dotted names of the variants that ``work`` loads by name.

    Returns:
        ``work`` (its name), ``code`` (path to digest), ``job`` and ``environment``.

    Raises:
        BadInput: a path of the job does not exist.
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
    """Converts a value of a job to JSON: numbers, text, None, lists, dicts, dataclasses, settings, paths, functions.

    A path becomes its name and the digest of its content, of which only the digest enters a key. An object with a ``key``
    (a Task that has to finish first) becomes that key.

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
    if isinstance(key := getattr(value, "key", None), str):
        return {"key": key}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: described(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}  # two sources may have the same fields
    if inspect.isfunction(value) and "<" not in value.__qualname__:  # a closure's values are not in its name
        return f"{value.__module__}:{value.__qualname__}"
    raise TypeError(f"{type(value).__name__} has no place in a key")


def _modules_in(value: object) -> Iterator[str]:
    """The modules of the functions that a job holds, and of the classes of its values, whose methods the work may call."""
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
    """Digests described inputs without the names of their files: 16 hexadecimal digits."""
    return digest(_nameless(inputs))


def digest(value: object) -> str:
    """Digests a JSON value: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def content_digest(path: Path) -> str:
    """Computes the SHA-256 of a file, or of the names and contents of all files in a folder but hidden ones.

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
    """Digests a file once a process: the jobs of a stage name the same data; ``mtime`` (ns) and ``size`` key the cache."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _nameless(value: object) -> object:
    """Described inputs with each path reduced to its digest."""
    if isinstance(value, dict):
        if value.keys() == {"path", "sha256"}:
            return value["sha256"]
        return {key: _nameless(item) for key, item in value.items()}
    return [_nameless(item) for item in value] if isinstance(value, list) else value
