"""Named tensors and a JSON record in one safetensors file: no pickle, written atomically, the same bytes every time."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distillation.runtime.errors import BadInput
from distillation.runtime.files import FLOOR, parsed_json, regular, replacing

# What a tensor in a file may hold; torch computes with all of these on every device.
DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
)


def save(path: str | Path, tensors: Mapping[str, Tensor], info: Mapping[str, object]) -> None:
    """Writes tensors and a record of what they are to one safetensors file, atomically.

    Equal content gives equal bytes, so that DVC sees no change. The record is JSON in the one metadata entry ``info``:
    safetensors stores several entries in an arbitrary order.

    Args:
        path: the file; its folder is created if needed.
        tensors: tensors by name, on any device.
        info: the record, a dict of JSON values.

    Raises:
        OSError: the file cannot be written, as the disk is full.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, {"info": json.dumps(info, sort_keys=True)})
        except SafetensorError as error:
            if "No space left" in str(error) or "StorageFull" in str(error):
                raise OSError(28, "No space left on device", str(path)) from error
            raise


@contextlib.contextmanager
def opened(path: str | Path, device: torch.device | str = "cpu") -> Iterator["TensorFile"]:
    """Opens a file that ``save`` wrote, to load single tensors of it; ``load`` loads all.

    Args:
        path: the file.
        device: where tensors are loaded to.

    Yields:
        The open TensorFile; it is closed after the block.

    Raises:
        BadInput: the file is missing, cut short, or was not written by ``save``.
    """
    with opened_foreign(path, device, "remove it and run its stage again") as file:
        if not isinstance(file.info, dict):
            raise BadInput(f"{path} carries no record of what its numbers are: it was not written by this pipeline.")
        yield file


@contextlib.contextmanager
def opened_foreign(
    path: str | Path, device: torch.device | str = "cpu", cure: str = "write it again"
) -> Iterator["TensorFile"]:
    """Opens any safetensors file as ``opened`` does; its record may be any JSON value, and is None if there is none.

    Args:
        path: the file.
        device: of the tensors.
        cure: an advice to the user, for the message if the file does not read.

    Raises:
        BadInput: the file is missing or cut short.
    """
    regular(path)
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            yield TensorFile(file, path)
    except SafetensorError as error:
        raise BadInput(f"{path} does not read as safetensors ({error}): {cure}.") from error


class TensorFile:
    """An open safetensors file, as ``opened`` and ``opened_foreign`` yield it.

    Attributes:
        info: the record, a JSON value; None if the file has none.
        names: the names of the tensors, sorted.

    Args:
        file: the open file of the library.
        path: its path, for messages.

    Raises:
        BadInput: the record is no JSON.
    """

    def __init__(self, file: safe_open, path: str | Path) -> None:
        self._file, self._path = file, path
        record = (file.metadata() or {}).get("info")
        self.info: Any = None if record is None else parsed_json(record, f"the record of {path}")
        self.names: list[str] = sorted(file.keys())

    def get(self, name: str) -> Tensor:
        """Loads the tensor ``name``, one of ``names``, onto the device of the file.

        Raises:
            BadInput: torch has no such type of numbers, or the tensor is not ``plain``.
        """
        try:
            tensor = self._file.get_tensor(name)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:  # a type that torch lacks
            raise BadInput(f"{self._path} has {name!r} in a form that torch does not read: save it again.") from error
        return plain(tensor, f"{self._path} has {name!r}")

    def length(self, name: str) -> int:
        """Returns the first dimension of the tensor ``name``, one of ``names``, without loading it."""
        return self._file.get_slice(name).get_shape()[0]

    def content(self) -> dict[str, Tensor]:
        """All tensors by name, as ``get`` loads each."""
        return {name: self.get(name) for name in self.names}


def load(path: str | Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict]:
    """Loads all tensors, by name, and the record of a file that ``save`` wrote.

    Raises:
        BadInput: as ``opened``.
    """
    with opened(path, device) as file:
        return file.content(), file.info


def plain(tensor: Tensor, subject: str) -> Tensor:
    """Returns ``tensor`` itself if it is an ordinary array of numbers in memory, of a type of ``DTYPES``.

    Every tensor of a safetensors, npz or torch.save file passes here, so that other code need not expect anything else.

    Args:
        tensor: of a file that others may have made.
        subject: the beginning of the message, like "a.pt has 'images'".

    Raises:
        BadInput: it is sparse, nested, quantised or without numbers (device ``meta``), or of another type; or it is
            larger than FLOOR in bytes and its numbers are few that strides repeat, which a copy would write out in
            full.
    """
    if tensor.is_nested or tensor.layout != torch.strided:
        form = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise BadInput(f"{subject} as a tensor that is {form}: save it dense.")
    if tensor.device.type == "meta":
        raise BadInput(f"{subject} as a tensor on the device meta, which has a shape and no numbers: save its numbers.")
    if tensor.is_quantized or tensor.dtype not in DTYPES:
        raise BadInput(
            f"{subject} as {str(tensor.dtype).removeprefix('torch.')}: save it as float32, or whole numbers as int64."
        )
    size = tensor.numel() * tensor.element_size()
    if size > FLOOR and size > tensor.untyped_storage().nbytes():
        raise BadInput(
            f"{subject} as {tuple(tensor.shape)}, which repeats few numbers to {size:,} bytes: it is refused."
        )
    return tensor


def digest(tensors: Mapping[str, Tensor], record: object) -> str:
    """Computes the SHA-256 of tensors and a record, for checkpoints to be verified by.

    Args:
        tensors: tensors by name, on any device; names, types, shapes and numbers all count, their order does not.
        record: a JSON value.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        # as bytes, since numpy has no bfloat16; flat first, since a tensor without dimensions has no such view
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
