"""The words that name augmentation strategies. Imports no torch."""

import difflib

from distillation.runtime.errors import BadInput

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DC_OPERATIONS = ("crop", "scale", "rotate", "noise")  # of DC's own evaluations, see ``dc.py``


def operations(strategy, known=OPERATIONS):
    """The operations of a word such as ``color_crop_cutout``, in its order, among those ``known``; none for ``none``.

    Raises BadInput for an unknown or a repeated operation.
    """
    if strategy == "none":
        return ()
    names = tuple(strategy.split("_"))
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise BadInput(f"'{name}' in the augmentation '{strategy}' is none of {', '.join(known)}{hint}")
    if len(set(names)) < len(names):
        raise BadInput(f"The augmentation '{strategy}' names an operation twice; each may come once.")
    return names


def resolve(strategy, flip):
    """``auto`` as the strategy that the papers use: all six, without flip where a mirrored image changes class.

    ``flip`` says whether mirrored images keep their class (not so for digits). Any other word comes back as it is,
    once it is known to be a strategy: BadInput as ``operations``.
    """
    if strategy == "auto":
        return "_".join(name for name in OPERATIONS if flip or name != "flip")
    operations(strategy)
    return strategy
