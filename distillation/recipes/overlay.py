"""Conversion of settings by dotted path to a whole params.yaml, and to the overrides of ``dvc exp run`` that lead there."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from distillation.networks.names import check, parse
from distillation.recipes.results import flat, nested
from distillation.recipes.rows import scales
from distillation.runtime.errors import BadInput

_MAPS = ("sources", "targets")
_ARITHMETIC = ("precision", "compile")
_NETWORK_PATHS = re.compile(r"teacher\.[\w-]+\.networks|evaluate\.networks|method\.network")


def applied(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the settings of a row over the values of a params.yaml.

    Pools that the row does not name are left out. A pool that it names keeps of its old settings only precision and
    compilation, which no recipe names.

    Args:
        values: nested values of a params.yaml.
        settings: by dotted path.

    Returns:
        Nested values; ``values`` stays as it was.
    """
    pools_set = {path.split(".")[1] for path in settings if path.startswith("teacher.")}
    pools = {
        name: {key: value for key, value in pool.items() if key in _ARITHMETIC}
        for name, pool in values["teacher"].items()
        if name in pools_set
    }
    return nested(settings, {**values, "teacher": pools})


def quick(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Makes settings small, so that a CPU runs them in a minute or two, on the embedded digits.

    The rules are in ``quick`` of recipes/scales.yaml: the most that a number may be, values for some keys instead, and
    sizes of images, of which the first is taken that every network accepts.

    Args:
        settings: of a row at published scale, by dotted path.

    Returns:
        Settings with the same keys; every dataset becomes the embedded one.
    """
    rule = scales()["quick"]
    small = {path: _small(path, value, rule) for path, value in settings.items()}
    small |= {path: value for path, value in rule["instead"].items() if path in settings}
    size = next(size for size in rule["sizes"] if all(_fits(network, size) for network in _network_names(small)))
    stands_in = {"name": rule["dataset"], "pixels": size, "stats": "published"}
    small |= {f"dataset.{key}": value for key, value in stands_in.items()}
    for section in _MAPS:
        small[section] = {name: {**entry, **stands_in} for name, entry in settings[section].items()}
    return small


def flags(values: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Lists the overrides, for ``dvc exp run -S``, that turn a params.yaml into another.

    Args:
        values: its nested values.
        target: the nested values that are wanted.

    Returns:
        Overrides like ``method.ipc=10``, ``+teacher.main.count=2`` (a new key) or ``~method.alpha`` (a removed one).
    """
    changes = _changes(values, target)
    return [f"~{path}" if sign == "~" else f"{sign}{path}={_written(value)}" for sign, path, value in changes]


def text(before: str, target: Mapping[str, Any]) -> str:
    """Writes a params.yaml with other values and the comments of the old one.

    Args:
        before: text of the old params.yaml.
        target: the nested values.

    Returns:
        The new text.
    """
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096  # no line is broken
    content = yaml.load(before)
    for sign, path, value in _changes(content, target):
        *above, last = path.split(".")
        node = content
        for key in above:
            node = node[key]
        if sign == "~":
            del node[last]
            if not node:
                node.fa.set_flow_style()  # else a comment on the same line ends up in between
        else:
            node[last] = value
    out = io.StringIO()
    yaml.dump(content, out)
    return _spaced(out.getvalue(), before)


def _spaced(text: str, before: str) -> str:
    """``text`` with the blank lines that ``before`` has between sections, as a dump moves them with the preceding entry."""
    apart = set(re.findall(r"\n\n(\w+:)", before))
    return re.sub(r"(?<=[^\n]\n)\w+:", lambda match: "\n" * (match[0] in apart) + match[0], text)


def _changes(values: Mapping[str, Any], target: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yields (sign, dotted path, value) of each difference: + for a new key, ~ for a removed one, no sign for a new value."""
    for key in [key for key in values if key not in target]:
        yield "~", f"{before}{key}", None
    for key, value in target.items():
        path = f"{before}{key}"
        if key not in values:
            yield "+", path, value
        elif isinstance(value, dict) and isinstance(values[key], dict):
            yield from _changes(values[key], value, f"{path}.")
        # True == 1 in Python, but not in a params.yaml
        elif value != values[key] or isinstance(value, bool) != isinstance(values[key], bool):
            yield "", path, value


def _written(value: Any) -> str:
    """A value in the grammar of overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(inner) for inner in value) + "]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z_][\w./-]*", value) else json.dumps(value)
    return repr(value)


def _small(path: str, value: Any, rule: Mapping[str, Any]) -> Any:
    """The value at a dotted path made small: networks narrow, numbers capped, a mapping part by part."""
    if isinstance(value, dict):
        return {_narrow(key, rule): _small(f"{path}.{key}", inner, rule) for key, inner in value.items()}
    if _NETWORK_PATHS.fullmatch(path):
        return [_narrow(name, rule) for name in value] if isinstance(value, list) else _narrow(value, rule)
    limit = rule["most"].get(_default_of(path))
    return [_capped(each, limit) for each in value] if isinstance(value, list) else _capped(value, limit)


def _default_of(path: str) -> str:
    """The path of the default that a pool's setting overrides; every other path unchanged."""
    match = re.fullmatch(r"teacher\.[\w-]+\.(.+)", path)
    if match is None:
        return path
    return f"{'objectives' if '.' in match[1] else 'pool'}.{match[1]}"


def _capped(value: Any, limit: float | None) -> Any:
    """A number no larger than ``limit``; anything else unchanged."""
    return min(value, limit) if isinstance(value, (int, float)) and limit is not None else value


def _network_names(settings: Mapping[str, Any]) -> list[str]:
    """The names of all networks in ``settings``."""
    networks = [value for path, value in flat(settings).items() if _NETWORK_PATHS.fullmatch(path)]
    return [name for value in networks for name in (value if isinstance(value, list) else [value])]


def _fits(network: str, size: int) -> bool:
    try:
        check(network, 1, size)
    except BadInput:
        return False
    return True


def _narrow(network: Any, rule: Mapping[str, Any]) -> Any:
    """A ConvNet with as many blocks and few channels; every other network unchanged."""
    if not isinstance(network, str) or not network.startswith("ConvNet"):
        return network
    tokens = re.sub(r"W[\d-]+|D\d+", "", network.removeprefix("ConvNet"))
    # three blocks are the default, which names leave out: metrics are found by the name
    return f"ConvNetD{len(parse(network).widths)}W{rule['width']}{tokens}".replace("ConvNetD3", "ConvNet")
