"""The settings of assess."""

from pydantic import Field, field_validator

from distillation.params import Section


class Measuring(Section):
    """What distances are taken over.

    ``fresh`` random networks of each word of the pool; ``real`` images of each class, or as many as it has; networks are
    given ``chunk`` images at a time.
    """

    fresh: int = Field(ge=0)
    real: int = Field(ge=2)
    chunk: int = Field(ge=1)


class Assess(Measuring):
    """``teachers``: the pools under which the set is assessed, each a stage of its own."""

    teachers: list[str]

    @field_validator("teachers")
    @classmethod
    def _once(cls, values: list[str]) -> list[str]:
        if len(set(values)) != len(values):
            raise ValueError("should name each pool once")
        return values
