"""The names of augmentation strategies. Imports no torch."""

import difflib
from collections.abc import Sequence

from distillation.runtime.errors import BadInput

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DC_OPERATIONS = ("crop", "scale", "rotate", "noise")  # of DC's own evaluations, see ``dc.py``


def operations(strategy: str, choices: Sequence[str] = OPERATIONS) -> tuple[str, ...]:
    """Parses a strategy.

    Args:
        strategy: operations such as ``color_crop_cutout``, or ``none``.
        choices: the operations that it may name.

    Returns:
        The operations in their order; none for ``none``.

    Raises:
        BadInput: an operation is unknown or repeated.
    """
    if strategy == "none":
        return ()
    names = tuple(strategy.split("_"))
    for name in names:
        if name not in choices:
            close = difflib.get_close_matches(name, choices, n=1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise BadInput(f"'{name}' in the augmentation '{strategy}' is none of {', '.join(choices)}{hint}")
    if len(set(names)) < len(names):
        raise BadInput(f"The augmentation '{strategy}' names an operation twice; each may come once.")
    return names


def resolve(strategy: str, flip: bool) -> str:
    """Replaces ``auto`` by the papers' strategy: all six operations, without flip if a mirrored image changes class.

    Args:
        strategy: ``auto``, or a strategy that is returned unchanged.
        flip: whether mirrored images keep their class (digits do not).

    Raises:
        BadInput: as ``operations``.
    """
    if strategy == "auto":
        return "_".join(name for name in OPERATIONS if flip or name != "flip")
    operations(strategy)
    return strategy
