"""The loop that runs a method to its end, for the stage, benchmarks, tests and notebooks alike."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from distillation.methods.base import Method
from distillation.methods.guidance import Guidance


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A completed unit of work.

    Attributes:
        updates: the number of updates of the images so far, earlier runs included.
        updated: whether this unit updated them. Others train a network, or compute a part of a gradient.
        metrics: the method's values by name, to display or record; with guidance also ``guidance``, the teacher's loss.
    """

    updates: int
    updated: bool
    metrics: Mapping[str, float | Tensor]


def updates(method: Method, guidance: Guidance | None = None, start: int = 0) -> Iterator[Unit]:
    """Runs ``method`` to its end, one bounded unit of work at a time; between any two its state can be saved.

    Once the gradient of the images is complete, ``guidance`` adds its own, and the method takes its step. The iterator
    is lazy: nothing happens until it is advanced.

    Args:
        method: a new Method, or one that has loaded a state; it is changed in place.
        guidance: the Guidance that adds to the image gradient, if any.
        start: the number of updates made by an earlier run. It continues the count, which names the draws of guidance,
            so that a resumed run draws the same teachers.

    Yields:
        Each completed Unit. After the last, ``method.result()`` is the distilled set.

    Raises:
        Diverged: as ``method.require_sound``, after the last unit.

    Examples:
        A notebook distils in three lines, given a Problem and the method's settings:

        >>> method = DM(problem, settings)
        >>> losses = [float(unit.metrics["loss"]) for unit in updates(method)]
        >>> distilled = method.result()
    """
    count = start
    while method.at < method.total:
        step = method.advance()
        metrics = step.metrics
        if step.image_grad_ready:
            if guidance:
                metrics = {**metrics, "guidance": guidance.add_gradient(method, count)}
            method.apply()
            count += 1
        if method.at == method.total:
            method.require_sound()
        yield Unit(updates=count, updated=step.image_grad_ready, metrics=metrics)
