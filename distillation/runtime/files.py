"""Files and folders that are complete or absent; files that are safe to open; JSON."""

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distillation.runtime.errors import BadInput

AGAIN = "run `dvc repro` (or the stage that writes it) first"  # the cure where an out is missing
FLOOR = 256 << 20  # house: bytes that any file may unpack to, however small it is
RATIO = 1000  # house: unpacked to packed bytes, beyond FLOOR: photographs and weights never come near it
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: True, "a device"),
)


def regular(path: str | Path, cure: str = AGAIN) -> Path:
    """Returns the path of a regular file, or of a link to one; every file that others may have made is opened after this.

    A FIFO is waited for without end, and a device may have no end.

    Args:
        path: the file.
        cure: an advice to the user, for the message if there is no such file.

    Raises:
        BadInput: nothing lies there, or something else than a file.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{path} is missing: {cure}.") from error
    except ValueError as error:  # a zero byte in the name
        raise BadInput(f"{str(path)!r} is no name of a file: {cure}.") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): {cure}.") from error
    _require_file(path, mode)
    return path


def _require_file(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next(name for test, name in _KINDS if test(mode))
        raise BadInput(f"{path} is {kind}, but should be a file: remove it, or name another one.")


def read_bytes(path: Path) -> bytes:
    """Reads a file, as ``regular`` tells one; the caller says what is to be done if it is missing.

    Raises:
        BadInput: something else than a file lies there.
        OSError: it cannot be read.
    """
    _require_file(path, path.stat().st_mode)
    return path.read_bytes()


def unpacked_limit(path: str | Path) -> int:
    """Returns the largest number of bytes that a file may honestly unpack to: RATIO times its own, or FLOOR."""
    return max(FLOOR, RATIO * Path(path).stat().st_size)


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


def set_aside(path: Path) -> Path:
    """Moves a damaged file or folder to its name with ``.damaged``, in place of an earlier one; returns where it lies."""
    place = path.with_name(f"{path.name}.damaged")
    if place.is_dir():
        shutil.rmtree(place)
    os.replace(path, place)
    return place


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file atomically; creates its folder if needed."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def save_json(path: str | Path, value: object) -> None:
    """Writes JSON atomically, indented by two spaces, keys in the order of ``value``."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def load_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        BadInput: the file is missing or too large, or is no JSON.
    """
    if (size := regular(path).stat().st_size) > FLOOR:
        raise BadInput(f"{path} has {size:,} bytes, but no record of this pipeline has more than {FLOOR:,}: remove it.")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is no JSON (not UTF-8): remove it, and run what writes it again.") from error
    return parsed_json(text, path)


def parsed_json(text: str, name: object) -> Any:
    """Parses JSON.

    Args:
        text: JSON.
        name: of its file, for the message.

    Raises:
        BadInput: it is no JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        fault = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadInput(f"{name} is no JSON ({fault}): remove it, and run what writes it again.") from error
