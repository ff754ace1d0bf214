"""The settings of the section evaluate.assess."""

from pydantic import Field, field_validator

from distillation.bounds import COPIES, MOST, Count
from distillation.params import Section


class Measuring(Section):
    """The settings of the measures.

    Attributes:
        fresh: number of networks with random weights for each network name of the pool; 0: none.
        real: real images of each class that the sets are compared with, or as many as it has; at least 2.
        chunk: images that pass through a network together.
    """

    fresh: int = Field(ge=0, le=COPIES)
    real: int = Field(ge=2, le=MOST)
    chunk: Count


class Assess(Measuring):
    """The section ``evaluate.assess``.

    Attributes:
        teachers: the pools under which the set is assessed, each in a stage of its own.
    """

    teachers: list[str]

    @field_validator("teachers")
    @classmethod
    def _once(cls, values: list[str]) -> list[str]:
        if len(set(values)) != len(values):
            raise ValueError("should name each pool once")
        return values
