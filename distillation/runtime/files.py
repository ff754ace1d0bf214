"""Files and folders that are whole or not there; JSON."""

import contextlib
import json
import os
import shutil
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """A temporary path that becomes ``path`` when the block succeeds, and is removed when it does not."""
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
def atomic_output(out):
    """A folder to write a stage's out into; it takes the out's place when the block succeeds, and goes when it fails."""
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
    """Writes a file atomically, its folder too if there is none."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def save_json(path, value):
    """Write JSON atomically, two spaces deep, in the order given."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def load_json(path):
    """The value of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
