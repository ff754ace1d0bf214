"""Schedules of learning rates, momenta and crops, as factors of their first value."""

import math
from collections.abc import Sequence


def cosine(done: float, whole: float = 1, last: float = 0) -> float:
    """Half a cosine that falls from 1, at ``done`` = 0, to ``last``, at ``done`` = ``whole``."""
    return last + (1 - last) * (1 + math.cos(math.pi * done / whole)) / 2


def warmup_cosine(step: int, steps: int, warmup: int = 0, last: float = 0) -> float:
    """A line from 0 at ``step`` 0 to 1 at ``warmup``, then a ``cosine`` that falls to ``last`` after all ``steps``.

    The first step of a warm-up thus moves nothing, as in ``transformers`` (KRR-ST) and ``optax`` (FRePo).
    """
    if step < warmup:
        return step / warmup
    return cosine(step - warmup, steps - warmup, last)


def drop_times(milestones: Sequence[int | float], length: int) -> list[int]:
    """Converts milestones to numbers of epochs or steps: a float is a fraction of ``length``, rounded, at least 1."""
    return [m if isinstance(m, int) else max(1, round(m * length)) for m in milestones]


def stepped(epoch: int, epochs: int, milestones: Sequence[int | float], decay: float) -> float:
    """The product of one ``decay`` for each of the ``milestones`` that ``epoch``, counted from 0, has reached."""
    return decay ** sum(drop <= epoch for drop in drop_times(milestones, epochs))
