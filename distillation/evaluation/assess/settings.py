"""The settings of assess."""

from pydantic import Field, field_validator

from distillation.bounds import COPIES, MOST, Count
from distillation.params import Section


class Measuring(Section):
    """The settings of the measures.

    Attributes:
        fresh: random networks of each network name of the pool.
        real: real images of each class, or as many as it has.
        chunk: images that pass through a network together.
    """

    fresh: int = Field(ge=0, le=COPIES)
    real: int = Field(ge=2, le=MOST)
    chunk: Count


class Assess(Measuring):
    """``teachers``: the pools under which the set is assessed, each in a stage of its own."""

    teachers: list[str]

    @field_validator("teachers")
    @classmethod
    def _once(cls, values: list[str]) -> list[str]:
        if len(set(values)) != len(values):
            raise ValueError("should name each pool once")
        return values
