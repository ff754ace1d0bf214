"""State dicts in files from elsewhere; only tensors are read, never code."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from distillation.data.pickled import unpickled
from distillation.runtime.errors import BadInput
from distillation.runtime.files import regular
from distillation.runtime.tensors import opened_foreign

_WRAPPERS = ("state_dict", "model", "teacher")  # keys under which a checkpoint holds its weights (DINO: teacher)
_PREFIXES = ("module.", "_orig_mod.")  # put before every name by DataParallel and by torch.compile


def sha256(path: str | Path) -> str:
    """Returns the SHA-256 (hexadecimal) of a file.

    Raises:
        BadInput: the file is missing.
    """
    with open(regular(path, "give the path of a .safetensors, .pt or .pth file"), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: str | Path) -> dict[str, Tensor]:
    """Reads the state dict in a .safetensors file, or in a file of any other name that torch.save wrote.

    A dict under ``state_dict``, ``model`` or ``teacher`` is unwrapped. The prefixes ``module.`` and ``_orig_mod.`` are
    removed if all names have them.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        BadInput: the file is missing or broken, may hold code, or holds no state dict.
    """
    cure = "save its state dict as .safetensors"
    if str(path).endswith(".safetensors"):
        with opened_foreign(path, cure=cure) as file:
            state = file.content()
    else:
        state = unpickled(path, cure)
    for wrapper in _WRAPPERS:  # in turn, as one may be inside another
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state or not all(map(_is_weight, state.keys(), state.values())):
        raise BadInput(f"{path} holds no state dict: names and tensors, alone or under {' or '.join(_WRAPPERS)}.")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _is_weight(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, torch.Tensor)


def fit(network: nn.Module, state: Mapping[str, Tensor], path: str | Path, spare: tuple[str, ...] = ()) -> None:
    """Loads a state dict into a network, strictly: names and shapes must be the same on both sides.

    Args:
        network: changed in place.
        state: tensors by name.
        path: the file of ``state``, for messages.
        spare: prefixes of tensor names that are ignored on both sides, such as that of the classifier; the network
            keeps its own values there.

    Raises:
        BadInput: a name is on one side only, a tensor has another shape, or a number is not finite.
    """
    own = network.state_dict()
    expected = {name for name in own if not name.startswith(spare)}
    weights = {name: value for name, value in state.items() if not name.startswith(spare)}
    for name in sorted(expected ^ weights.keys()):  # the first, in a fixed order, stands for all
        raise BadInput(f"{path} {'lacks' if name in expected else 'has'} {name!r}, unlike the network it should fit.")
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise BadInput(f"{path} has {name!r} as {tuple(value.shape)}, but the network as {tuple(own[name].shape)}.")
        if not value.isfinite().all():
            raise BadInput(f"{path} has numbers in {name!r} that are not finite.")
    network.load_state_dict({**own, **weights})
