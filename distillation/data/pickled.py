"""Files of torch.save, loaded without running any code that they could hold."""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distillation.runtime.errors import BadInput

# Beside the types that torch itself allows: arguments and numpy's accuracies, which training scripts save with tensors.
_ALLOWED = [argparse.Namespace, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32))]
_SCALAR = np._core.multiarray.scalar  # pyright: ignore[reportAttributeAccessIssue]  # public nowhere, yet in files
_ALLOWED += [(_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


def unpickled(path: str | Path, cure: str) -> Any:
    """Loads tensors, numbers, text, and lists and dicts of them, onto the CPU.

    Args:
        path: a file of torch.save.
        cure: the end of the message, an advice to the user.

    Raises:
        BadInput: the file is damaged or holds objects that could run code.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # the unpickler raises nearly anything on foreign bytes
        raise BadInput(f"{path} {_fault(str(error))}: {cure}.") from error


def _fault(message: str) -> str:
    """The middle of a sentence about the message of the unpickler."""
    if "TorchScript" in message:
        return "is a TorchScript archive, which holds code, and is refused"
    if match := re.search(r"GLOBAL ([\w.]+)", message):
        return f"holds more than tensors ({match[1]}), which could run code, and is refused"
    return "does not read as what torch.save writes"
