"""Files of torch.save (pickles), loaded without running any code that they could hold.

They come from other programs: images of ``method.imported`` and weights of imported teachers.
"""

import argparse
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distillation.runtime.errors import BadInput
from distillation.runtime.files import refuse_bomb, regular
from distillation.runtime.tensors import plain

# Beside the types that torch itself allows: arguments and numpy's accuracies, which training scripts save with tensors.
_ALLOWED = [argparse.Namespace, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32))]
_SCALAR = np._core.multiarray.scalar  # pyright: ignore[reportAttributeAccessIssue]  # public nowhere, yet in files
_ALLOWED += [(_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


def unpickled(path: str | Path, cure: str) -> Any:
    """Loads a file of torch.save onto the CPU: tensors, numbers, text, and lists, tuples and dicts of them, nested.

    Args:
        path: a file of torch.save, in its zip format or the older one.
        cure: the end of the message if the file does not load, an advice to the user.

    Returns:
        What was saved.

    Raises:
        BadInput: the file is missing, damaged or a bomb, holds objects that could run code, or tensors that are not
            ``tensors.plain``.
    """
    regular(path, "give the path of a file that torch.save wrote")
    try:
        _refuse_bombs(path)
        with torch.serialization.safe_globals(_ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (MemoryError, BadInput):
        raise
    except Exception as error:  # the unpickler raises nearly anything on foreign bytes
        raise BadInput(f"{path} {_fault(str(error))}: {cure}.") from error
    for name, tensor in _tensors(content):
        plain(tensor, f"{path} has {name}")
    return content


def _refuse_bombs(path: str | Path) -> None:
    """Raises BadInput if a zip, which torch.save writes uncompressed, unpacks to more than it can honestly hold."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            refuse_bomb(path, sum(entry.file_size for entry in archive.infolist()))


def _tensors(content: object) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields each tensor in nested dicts, lists and tuples, with the last key or place that leads to it."""
    # a stack, where recursion would bound the depth
    stack, seen = [("a value", content)], set()
    while stack:
        name, value = stack.pop()
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))  # a list may hold itself, or one list many times
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            stack += [(_named(key), item) for key, item in pairs]


def _named(key: object) -> str:
    """The name of a value: its key or its place; other keys, which may be of any length, by their type."""
    return (
        repr(key[:80]) if isinstance(key, str) else f"entry {key}" if type(key) is int and abs(key) < 1e9 else "a value"
    )


def _fault(message: str) -> str:
    """The middle of a sentence that says what the unpickler's message means."""
    if "TorchScript" in message:
        return "is a TorchScript archive, which holds code, and is refused"
    if match := re.search(r"GLOBAL ([\w.]+)", message):
        return f"holds more than tensors ({match[1]}), which could run code, and is refused"
    return "does not read as what torch.save writes"
