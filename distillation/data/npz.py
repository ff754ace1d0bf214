"""Named tensors and a JSON record in one npz file, which numpy alone reads: no pickle, exact to the bit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save(path: str | Path, tensors: Mapping[str, torch.Tensor], info: Mapping[str, object]) -> None:
    """Writes tensors by name, and ``info`` (JSON values) as text under the name ``info``."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    with open(path, "wb") as file:
        record = np.array(json.dumps(info, sort_keys=True))
        np.savez(file, info=record, **arrays)  # pyright: ignore[reportArgumentType]  # no tensor is named allow_pickle


def load(path: str | Path) -> tuple[dict[str, torch.Tensor], Any]:
    """Loads the tensors of any npz file, by name, and its record, None if it has none.

    Raises:
        ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error, NotImplementedError: the file is not a npz file, is
            damaged, or holds other values than numbers.
    """
    with np.load(path, allow_pickle=False) as file:
        info = json.loads(file["info"].item()) if "info" in file.files else None
        return {name: torch.from_numpy(file[name]) for name in file.files if name != "info"}, info
