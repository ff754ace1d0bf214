"""Schedules of learning rates, momenta and crops, as factors of a value in the settings."""

import math
from collections.abc import Sequence


def cosine(done: float, whole: float = 1, last: float = 0) -> float:
    """Computes half a cosine that falls from 1, at ``done`` = 0, to ``last``, at ``done`` = ``whole``.

    ``done`` is not clamped: beyond ``whole`` the cosine would rise again.
    """
    return last + (1 - last) * (1 + math.cos(math.pi * done / whole)) / 2


def warmup_cosine(step: int, steps: int, warmup: int = 0, last: float = 0) -> float:
    """Computes the factor of the learning rate for a linear warm-up, followed by half a cosine.

    The factor rises from 0 at step 0 to 1 at step ``warmup``, then falls to ``last``. The first step of a warm-up thus
    moves nothing, as in ``transformers`` (KRR-ST) and ``optax`` (FRePo).

    Args:
        step: counted from 0.
        steps: number of all steps, more than ``warmup``; the factor would be ``last`` at this step.
        warmup: number of steps of the warm-up; 0: none.
        last: the factor at the end of the cosine.
    """
    if step < warmup:
        return step / warmup
    return cosine(step - warmup, steps - warmup, last)


def drop_times(milestones: Sequence[int | float], length: int) -> list[int]:
    """Converts milestones to numbers of epochs or steps, in their order.

    Args:
        milestones: an int is taken as it is, a float is a fraction of ``length``, rounded, but at least 1.
        length: number of all epochs or steps.
    """
    return [m if isinstance(m, int) else max(1, round(m * length)) for m in milestones]


def stepped(epoch: int, epochs: int, milestones: Sequence[int | float], decay: float) -> float:
    """Computes the factor of the learning rate in an epoch: one ``decay`` for each milestone that has been reached.

    Args:
        epoch: counted from 0; a milestone of 50 is reached in epoch 50, after 50 complete epochs.
        epochs: number of all epochs.
        milestones: see ``drop_times``.
        decay: factor of each milestone.
    """
    return decay ** sum(drop <= epoch for drop in drop_times(milestones, epochs))
