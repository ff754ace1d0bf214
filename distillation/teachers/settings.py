"""The settings of a pool of teachers: what all objectives read, and one subsection per objective."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from distillation.params import Section, validate
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives
from distillation.training.settings import Milestone

Kept = Literal["last", "best", "best_test"] | Annotated[int, Field(ge=1)]


class ProbeSettings(Section):
    """How a linear classifier is trained on frozen features: SGD with steps of decay, as TrainSettings have them."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)


class KnnSettings(Section):
    """How many neighbours vote, and the temperature of their weights."""

    k: int = Field(ge=1)
    temperature: float = Field(gt=0)


class PoolSettings(Section):
    """A pool: each network word ``count`` times, made on ``source`` by ``objective``.

    ``keep`` lists the epochs whose weights are kept: numbers, ``last``, ``best`` (on a tenth of the training images held
    out for it) and ``best_test`` (the published rule of CLOM and APM: chosen on the test set, and marked wherever it
    shows). ``probe`` and ``knn`` are for networks that were trained without labels; without a probe they have features
    only. ``training`` is the section of the objective, under its name in params.yaml.
    """

    source: str = Field(pattern=r"^(dataset|(sources|targets)/[\w-]+)$")
    objective: str
    networks: list[str] = Field(min_length=1)
    count: int = Field(ge=1)
    seed: int = Field(ge=0)
    keep: list[Kept] = Field(min_length=1)
    precision: Literal["fp32", "bf16"]
    compile: bool
    probe: ProbeSettings | None
    knn: KnnSettings
    training: Section

    @field_validator("networks", "keep")
    @classmethod
    def _once(cls, values):
        if len(set(values)) != len(values):
            raise ValueError("should name each entry once")
        return values

    def of_one(self, network: str) -> "PoolSettings":
        """The settings of one teacher: not which others there are."""
        return self.model_copy(update={"networks": [network], "count": 1})


COMMON = [name for name in PoolSettings.model_fields if name != "training"]


def pool_settings(params, pool):
    """The settings of ``teacher.<pool>``. Raises BadInput."""
    return settled(merged(params, pool), f"teacher.{pool}")


def merged(params, pool):
    """The section ``teacher.<pool>``; what it leaves out it takes from ``teacher.main``."""
    return _merged(params.value("teacher.main"), params.value(f"teacher.{pool}"))


def settled(values, path):
    """PoolSettings from the section of a pool at ``path``: the common keys, and the section of the chosen objective."""
    if not isinstance(values, dict):
        raise BadInput(f"{path} must be a section with {', '.join(COMMON)}, not {values!r}.")
    names = objectives.names()
    for key in values:
        if key not in (*COMMON, *names):
            raise BadInput(f"{path}.{key} is not a setting; {path} has {', '.join([*COMMON, *names])}.")
    if (chosen := values.get("objective")) not in names:
        raise BadInput(f"{path}.objective is {chosen!r}, but the objectives are {', '.join(names)}.")
    objective = objectives.load(chosen)
    section = validate(objective.settings, values.get(chosen), f"{path}.{chosen}")
    common = {key: value for key, value in values.items() if key in COMMON}
    pool = validate(PoolSettings, {**common, "training": section}, path)
    objective.check(pool, path)
    return pool


def _merged(base, over):
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}
