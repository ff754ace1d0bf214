"""Named tensors and a JSON record in one safetensors file: no pickle, written atomically, the same bytes every time."""

import contextlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from distillation.runtime.errors import BadInput
from distillation.runtime.files import replacing


def save(path, tensors, info):
    """Write ``tensors`` (name to Tensor, any device) and ``info`` (JSON values) to ``path``.

    The record is one metadata entry: several would be stored in an arbitrary order.
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
def opened(path, device="cpu"):
    """A lazy view (``view.info``, ``view.names``, ``view.get(name)``) of a file that ``save`` wrote.

    Raises:
        BadInput: the file is missing, cut short, or was not written by ``save``.
    """
    if not Path(path).is_file():
        raise BadInput(f"{path} is missing: run `dvc repro` (or the stage that writes it) first.")
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            yield _View(file, path)
    except SafetensorError as error:
        raise BadInput(
            f"{path} is not a readable safetensors file ({error}): remove it and run its stage again."
        ) from error


class _View:
    def __init__(self, file, path):
        metadata = file.metadata() or {}
        if "info" not in metadata:
            raise BadInput(f"{path} carries no record of what its numbers are: it was not written by this pipeline.")
        self.info = json.loads(metadata["info"])
        self.names = sorted(file.keys())
        self.get = file.get_tensor


def load(path, device="cpu"):
    """All tensors (name to Tensor) and the record of a file. Raises BadInput as ``opened``."""
    with opened(path, device) as view:
        return {name: view.get(name) for name in view.names}, view.info
