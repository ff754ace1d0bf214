"""Files and folders that are complete or absent; files that are safe to open; JSON.

What is written goes to a path with ``.partial`` first and is renamed when it is complete. A process that is killed
while it writes leaves a ``.partial``, which nobody reads, and never half a file under the right name.
"""

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
    """Returns ``path`` as a Path if a regular file, or a link to one, lies there.

    Every file that others may have made is checked by this before it is opened: to open a FIFO can wait for ever, and
    to read a device may never end.

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
    """Raises BadInput unless the mode (``st_mode``) of what lies at a path is that of a regular file."""
    if not stat.S_ISREG(mode):
        kind = next(name for test, name in _KINDS if test(mode))
        raise BadInput(f"{path} is {kind}, but should be a file: remove it, or name another one.")


def read_bytes(path: Path) -> bytes:
    """Reads a regular file; other than ``regular``, it lets errors of the system pass, as its caller explains them.

    Raises:
        BadInput: a folder, FIFO, socket or device lies there.
        OSError: the file is missing or cannot be read.
    """
    _require_file(path, path.stat().st_mode)
    return path.read_bytes()


def unpacked_limit(path: str | Path) -> int:
    """Returns the most bytes that an archive may unpack to: RATIO times its own size, at least FLOOR.

    A file that unpacks to more is refused as a bomb: a small file made to fill memory or disk.
    """
    return max(FLOOR, RATIO * Path(path).stat().st_size)


def refuse_bomb(path: str | Path, total: int) -> None:
    """Raises BadInput if a file unpacks to ``total`` bytes that are more than it may honestly unpack to."""
    if total > unpacked_limit(path):
        raise BadInput(f"{path} unpacks to {total:,} bytes, as only a bomb does: it is refused.")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path for a file, which replaces ``path`` atomically if the block succeeds.

    If the block raises, the temporary file is removed and ``path`` stays as it was. The block has to write the file.
    The folder is created if needed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # else a power failure after the rename could leave an empty file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_output(out: str | Path) -> Iterator[Path]:
    """Yields an empty temporary folder, which replaces ``out``, the folder of a stage's out, if the block succeeds.

    If the block raises, the temporary folder is removed and ``out`` stays as it was.
    """
    out = Path(out)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        # a folder cannot replace one that is not empty; a kill between the two leaves no out, and DVC runs the stage
        # again
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Renames a damaged file or folder, so that it is made anew and a person can still look at it.

    Args:
        path: an existing file or folder.

    Returns:
        Its new path: the same with ``.damaged`` at the end. What lay there before is replaced.
    """
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
    """Reads a JSON file in UTF-8.

    Raises:
        BadInput: the file is missing, no regular file, larger than FLOOR, or no JSON.
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
