"""What torch.save wrote, read without running anything that it could hold."""

import argparse
import re

import numpy as np
import torch

from distillation.runtime.errors import BadInput

# What training scripts put beside their tensors, on top of what torch itself allows: arguments and numpy's accuracies.
_ALLOWED = [argparse.Namespace, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32))]
_ALLOWED += [(np._core.multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


def unpickled(path, cure):
    """Tensors, numbers, text, and lists and dicts of them, on the CPU.

    Raises:
        BadInput: the file is broken or holds what could run code; the sentence ends with ``cure``.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # the unpickler raises nearly anything on what it did not write
        raise BadInput(f"{path} {_fault(str(error))}: {cure}.") from error


def _fault(message):
    if "TorchScript" in message:
        return "is a TorchScript archive, which holds code, and is refused"
    if found := re.search(r"GLOBAL ([\w.]+)", message):
        return f"holds more than tensors ({found[1]}), which could run code, and is refused"
    return "does not read as what torch.save writes"
