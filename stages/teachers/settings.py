"""The settings of a pool of teachers."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stages.params import Section, validate
from stages.training.settings import TrainSettings

Kept = Literal["last", "best", "best_test"] | Annotated[int, Field(ge=1)]


class PoolSettings(Section):
    """A pool: each network word ``count`` times, trained on ``source`` by ``objective``.

    ``keep`` lists the epochs whose weights are kept: numbers, ``last``, ``best`` (on a tenth of the training images held
    out for it) and ``best_test`` (the published rule of CLOM and APM: chosen on the test set, and marked wherever it
    shows).
    """

    source: str = Field(pattern=r"^(dataset|(sources|targets)/[\w-]+)$")
    objective: Literal["supervised"]
    networks: list[str] = Field(min_length=1)
    count: int = Field(ge=1)
    seed: int = Field(ge=0)
    keep: list[Kept] = Field(min_length=1)
    precision: Literal["fp32", "bf16"]
    compile: bool
    supervised: TrainSettings

    @field_validator("networks", "keep")
    @classmethod
    def _once(cls, values):
        if len(set(values)) != len(values):
            raise ValueError("should name each entry once")
        return values

    @model_validator(mode="after")
    def _reached(self):
        late = [k for k in self.keep if isinstance(k, int) and k > self.training.epochs]
        if late:
            raise ValueError(f"keeps epoch {late[0]}, but training ends after {self.training.epochs}")
        return self

    @property
    def training(self):
        """The section of the chosen objective."""
        return getattr(self, self.objective)


def pool_settings(params, pool):
    """The settings of ``teacher.<pool>``; what it leaves out it takes from ``teacher.main``. Raises BadInput."""
    values = _merged(params.value("teacher.main"), params.value(f"teacher.{pool}"))
    return validate(PoolSettings, values, f"teacher.{pool}")


def _merged(base, over):
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}
