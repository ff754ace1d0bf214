"""Files and folders that are complete or absent; JSON."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` if the block succeeds and is removed otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_output(out: str | Path) -> Iterator[Path]:
    """Yields a temporary folder that replaces the out of a stage if the block succeeds and is removed otherwise."""
    out = Path(out)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file atomically; creates its folder if needed."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def save_json(path: str | Path, value: object) -> None:
    """Writes JSON atomically, indented by two spaces, keys in the order of ``value``."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def load_json(path: str | Path) -> Any:
    """Reads a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
