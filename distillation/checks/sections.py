"""Sections of params.yaml as mappings from names."""

import re
from collections.abc import Collection
from typing import Any

from distillation.params import Params
from distillation.runtime.errors import BadInput


def mapping(params: Params, path: str) -> dict[str, Any]:
    """The mapping at a dotted path. Raises BadInput where there is another value."""
    value = params.value(path)
    if not isinstance(value, dict):
        raise BadInput(f"{path} must be a mapping from names to sections, not {value!r}.")
    return value


def names(params: Params, path: str) -> list[str]:
    """The keys of a mapping that become names of stages and folders. Raises BadInput where one cannot."""
    for name in (found := list(mapping(params, path))):
        if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
            raise BadInput(f"{path} has the name {name!r}, but names are letters, digits, - and _ only.")
    return found


def only(values: Collection[str], known: Collection[str], where: str) -> None:
    """Raise BadInput where the keys ``values`` are not those that are ``known``."""
    for key in values:
        if key not in known:
            raise BadInput(f"{where} has no setting {key!r}; it has {', '.join(known)}.")
    for key in known:
        if key not in values:
            raise BadInput(f"{where} lacks {key!r}.")
