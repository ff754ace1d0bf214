"""The loop that brings a method to its end, the same for the stage, for benchmarks, tests and notebooks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from distillation.methods.base import Method
from distillation.methods.guidance import Guidance


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit of work that is done.

    Attributes:
        updates: how often the images have been updated so far.
        updated: whether this unit of work updated them.
        metrics: values for people to watch, by name; ``guidance`` is the teacher's loss.
    """

    updates: int
    updated: bool
    metrics: Mapping[str, float | Tensor]


def updates(method: Method, guidance: Guidance | None = None, start: int = 0) -> Iterator[Unit]:
    """Advances ``method`` to its end, one bounded unit of work at a time; between any two its state can be saved.

    Where the gradient of the images is complete, ``guidance`` adds its own to it, and the method takes its step.

    Args:
        method: a new Method, or one that has loaded a state.
        guidance: what adds to the gradient of the images, if anything does.
        start: how many updates an earlier run made; their number names the draws of guidance.

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
        yield Unit(updates=count, updated=step.image_grad_ready, metrics=metrics)
