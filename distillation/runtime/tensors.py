"""Named tensors and a JSON record in one safetensors file: no pickle, written atomically, the same bytes every time."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distillation.runtime.errors import BadInput
from distillation.runtime.files import replacing


def save(path: str | Path, tensors: Mapping[str, Tensor], info: Mapping[str, object]) -> None:
    """Writes tensors and their record atomically.

    The record is one metadata entry: several would be stored in an arbitrary order.

    Args:
        path: the file.
        tensors: tensors by name, on any device.
        info: JSON values.

    Raises:
        OSError: the disk is full.
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
    """Opens a file that ``save`` wrote, to load single tensors of it onto ``device``.

    Raises:
        BadInput: the file is missing, cut short, or was not written by ``save``.
    """
    if not Path(path).is_file():
        raise BadInput(f"{path} is missing: run `dvc repro` (or the stage that writes it) first.")
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            yield TensorFile(file, path)
    except SafetensorError as error:
        raise BadInput(
            f"{path} is not a readable safetensors file ({error}): remove it and run its stage again."
        ) from error


class TensorFile:
    """An open file of tensors.

    Attributes:
        info: the record.
        names: the names of the tensors, sorted.
        get: function of a name that loads its Tensor.
    """

    def __init__(self, file: safe_open, path: str | Path) -> None:
        metadata = file.metadata() or {}
        if "info" not in metadata:
            raise BadInput(f"{path} carries no record of what its numbers are: it was not written by this pipeline.")
        self.info = json.loads(metadata["info"])
        self.names = sorted(file.keys())
        self.get = file.get_tensor


def load(path: str | Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict]:
    """Loads all tensors, by name, and the record of a file that ``save`` wrote.

    Raises:
        BadInput: as ``opened``.
    """
    with opened(path, device) as file:
        return {name: file.get(name) for name in file.names}, file.info
