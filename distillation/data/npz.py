"""Named tensors and a JSON record in one npz file, which numpy alone reads: no pickle, exact to the bit."""

import json

import numpy as np
import torch


def save(path, tensors, info):
    """Write ``tensors`` (name to Tensor) and ``info`` (JSON values), the latter as text under ``info``."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    with open(path, "wb") as file:
        np.savez(file, info=np.array(json.dumps(info, sort_keys=True)), **arrays)


def load(path):
    """The tensors (name to Tensor) of any npz file, and its record, None where it has none.

    Raises:
        ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error, NotImplementedError: it is no npz file, or a broken
            one, or holds other things than numbers.
    """
    with np.load(path, allow_pickle=False) as file:
        info = json.loads(file["info"].item()) if "info" in file.files else None
        return {name: torch.from_numpy(file[name]) for name in file.files if name != "info"}, info
