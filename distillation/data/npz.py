"""Named tensors and a JSON record in one npz file, which numpy alone reads: no pickle, exact to the bit."""

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distillation.runtime.errors import BadInput
from distillation.runtime.files import parsed_json, refuse_bomb, regular
from distillation.runtime.tensors import plain

# Errors of zipfile, numpy and torch on foreign bytes.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, TypeError, KeyError, AttributeError),
    *(NotImplementedError, RuntimeError, OverflowError, SyntaxError, RecursionError),
)


def save(path: str | Path, tensors: Mapping[str, torch.Tensor], info: Mapping[str, object]) -> None:
    """Writes tensors and a record as one npz file; not atomically, as ``export`` writes into a temporary folder.

    Args:
        path: the file; its folder has to exist.
        tensors: tensors by name, of types that numpy has; none may be called ``info``.
        info: JSON values, written as text under the name ``info``.
    """
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    with open(path, "wb") as file:
        record = np.array(json.dumps(info, sort_keys=True))
        np.savez(file, info=record, **arrays)  # pyright: ignore[reportArgumentType]  # no tensor is named allow_pickle


def load(path: str | Path) -> tuple[dict[str, torch.Tensor], Any]:
    """Loads any npz file, whoever made it.

    An npz is a zip of one npy file for each array. Each header is compared with the size of its file before memory is
    allocated, as a header alone could make numpy allocate more than there is.

    Args:
        path: the file.

    Returns:
        The tensors by name, on the CPU, and the record that ``save`` wrote; None if the file has no ``info``.

    Raises:
        BadInput: the file is missing, is no npz file or a damaged one, is a bomb, or holds other values than numbers.
    """
    regular(path, "give the path of a npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            refuse_bomb(path, sum(entry.file_size for entry in entries))
            arrays = {entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in entries}
        record = arrays.pop("info", None)
        info = None if record is None else parsed_json(str(record.item()), f"the record of {path}")
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    except _BROKEN as error:
        raise BadInput(f"{path} does not read: {' '.join(str(error).split()).rstrip('.')}.") from error
    return {name: plain(tensor, f"{path} has {name!r}") for name, tensor in tensors.items()}, info


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """Reads one array (numpy's format, versions 1 and 2)."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(entry) as file:
        shape, in_columns, dtype = readers[np.lib.format.read_magic(file)](file)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded, since they are pickled")
        size = math.prod(shape) * dtype.itemsize  # Python's integers: numpy's product of a forged shape would overflow
        if min(shape, default=0) < 0 or size != entry.file_size - file.tell():
            raise ValueError(f"{entry.filename} has {entry.file_size - file.tell():,} bytes, but should have {size:,}")
        values = np.frombuffer(bytearray(file.read()), dtype)  # bytearray: torch warns of arrays that are read-only
    return values.reshape(shape, order="F" if in_columns else "C")
