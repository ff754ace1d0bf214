"""Access to sections of params.yaml as mappings from names."""

import re
from collections.abc import Collection
from typing import Any

from distillation.params import UNSEEN, Params, shown
from distillation.runtime.errors import BadInput


def mapping(params: Params, path: str) -> dict[str, Any]:
    """Reads the mapping at a dotted path, such as ``teacher``.

    Raises:
        BadInput: there is no such path, or its value is no mapping.
    """
    value = params.value(path)
    if not isinstance(value, dict):
        raise BadInput(f"{path} must be a mapping from names to sections, not {shown(value)}.")
    return value


def names(params: Params, path: str) -> list[str]:
    """Lists the keys of the mapping at ``path``, which become names of stages and folders.

    They have at most 60 letters: at up to 4 bytes each, 240 bytes, which leaves room for a suffix within the 255 bytes
    of a file's name.

    Raises:
        BadInput: there is no such mapping, or a key cannot be such a name.
    """
    for name in (keys := list(mapping(params, path))):
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]{1,60}", name):
            raise BadInput(f"{path} has the name {shown(name)}, but names are at most 60 letters, digits, - and _.")
        if name in UNSEEN:
            raise BadInput(f"{path} has the name {name!r}, which DVC's run cache overlooks: choose another one.")
    return keys


def only(keys: Collection[str], settings: Collection[str], path: str) -> None:
    """Raises BadInput unless ``keys`` are exactly the ``settings`` of the section at ``path``."""
    for key in keys:  # before missing ones: a misspelt key is both, and its own name tells more
        if key not in settings:
            raise BadInput(f"{path} has no setting {shown(key)}; it has {', '.join(settings)}.")
    for key in settings:
        if key not in keys:
            raise BadInput(f"{path} lacks {key!r}.")
