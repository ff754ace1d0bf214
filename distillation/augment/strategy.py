"""The names of augmentation strategies. Imports no torch."""

import difflib
from collections.abc import Sequence

from distillation.runtime.errors import BadInput

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DC_OPERATIONS = ("crop", "scale", "rotate", "noise")  # of DC's own evaluations, see ``dc.py``


def operations(strategy: str, choices: Sequence[str] = OPERATIONS) -> tuple[str, ...]:
    """Splits the name of a strategy into its operations and checks them.

    Args:
        strategy: operations joined by ``_``, such as ``color_crop_cutout``, or ``none``.
        choices: the operations that it may name: those of DSA, or ``DC_OPERATIONS``.

    Returns:
        The operations in the order of the name; an empty tuple for ``none``.

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
    """Replaces ``auto`` by the strategy of the papers: all six operations of DSA, without flip if it changes the class.

    Args:
        strategy: ``auto``, or a siamese strategy, which is returned unchanged even if it names flip.
        flip: whether mirrored images keep their class (digits do not).

    Returns:
        A strategy such as ``color_crop_cutout_scale_rotate``.

    Raises:
        BadInput: as ``operations``.
    """
    if strategy == "auto":
        return "_".join(name for name in OPERATIONS if flip or name != "flip")
    operations(strategy)
    return strategy
