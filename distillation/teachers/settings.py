"""The settings of a pool of teachers: its own section of params.yaml over what it leaves out to ``pool`` and ``objectives``."""

from typing import Any, Literal

from pydantic import Field, field_validator

from distillation.bounds import Copies, Count, Whole
from distillation.params import Params, Section, shown, validate
from distillation.runtime.errors import BadInput
from distillation.teachers import objectives

Kept = Literal["last", "best", "best_test"] | Count


class PoolDefaults(Section):
    """The section ``pool``: defaults of every pool.

    Attributes:
        count: teachers of each network name.
        seed: names every draw.
        keep: the epochs whose weights are kept: numbers, ``last``, ``best`` (on a tenth of the training images, held out for
            it) and ``best_test`` (the published rule of CLOM and APM: chosen on the test set, and marked in every table).
        precision: ``fp32`` or ``bf16``.
        compile: whether networks are compiled.
    """

    count: Copies
    seed: Whole
    keep: list[Kept] = Field(min_length=1)
    precision: Literal["fp32", "bf16"]
    compile: bool

    @field_validator("keep", "networks", check_fields=False)
    @classmethod
    def _once(cls, values: list) -> list:
        if len(set(values)) != len(values):
            raise ValueError("should name each entry once")
        return values


class PoolSettings(PoolDefaults):
    """The settings of a pool: each network ``count`` times, trained on ``source`` by ``objective``.

    Attributes:
        source: ``dataset``, or ``sources/<name>`` or ``targets/<name>``.
        objective: the name of a file of ``objectives``.
        networks: network names.
        training: the section of the objective, under the objective's name in params.yaml.
    """

    source: str = Field(pattern=r"^(dataset|(sources|targets)/[\w-]+)$")
    objective: str
    networks: list[str] = Field(min_length=1)
    training: Section

    def of_one(self, network: str) -> "PoolSettings":
        """Returns the settings reduced to one teacher, so that they do not depend on the others."""
        return self.model_copy(update={"networks": [network], "count": 1})


OWN = ("source", "objective", "networks")  # the keys that every pool must set
COMMON = (*OWN, *PoolDefaults.model_fields)


def pool_settings(params: Params, pool: str) -> PoolSettings:
    """Returns the settings of ``teacher.<pool>``.

    Raises:
        BadInput: a value is wrong; the sentence names the key.
    """
    params.section("pool", PoolDefaults)
    values, path = merged(params, pool), f"teacher.{pool}"
    chosen = values["objective"]
    objective = objectives.load(chosen)
    params.section(f"objectives.{chosen}", objective.settings)
    training = validate(objective.settings, values.pop(chosen), f"{path}.{chosen}")
    settings = validate(PoolSettings, {**values, "training": training}, path)
    objective.check(settings, path)
    return settings


def merged(params: Params, pool: str) -> dict[str, Any]:
    """Returns the keys of ``teacher.<pool>`` over the defaults, and the section of its objective under the objective's name.

    Raises:
        BadInput: the pool does not name its source, objective or networks, or names unknown ones.
    """
    own, names = params.value(f"teacher.{pool}"), objectives.names()
    _check_keys(own, names, f"teacher.{pool}")
    objective = own["objective"]
    if objective not in names:
        raise BadInput(f"teacher.{pool}.objective is {shown(objective)}, but the objectives are {', '.join(names)}.")
    common = {key: value for key, value in own.items() if key in COMMON}
    return {**params.value("pool"), **common, objective: section_of(params, pool, objective)}


def section_of(params: Params, pool: str, objective: str) -> Any:
    """Returns the section of an objective, overridden by the pool's own values."""
    return _over(params.value(f"objectives.{objective}"), params.value(f"teacher.{pool}").get(objective, {}))


def _check_keys(own: Any, names: list[str], path: str) -> None:
    if not isinstance(own, dict):
        raise BadInput(f"{path} must be a section with {', '.join(OWN)} and what differs, not {shown(own)}.")
    keys = [*COMMON, *names]
    for key in own:
        if key not in keys:
            raise BadInput(f"{path}.{key} is not a setting; {path} has {', '.join(keys)}.")
    for key in OWN:
        if key not in own:
            raise BadInput(f"{path} lacks {key}: a pool names its {', '.join(OWN[:-1])} and {OWN[-1]}.")


def _over(base: Any, changes: Any) -> Any:
    """Returns ``base`` overridden by ``changes``, mapping by mapping."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return {**base, **{key: _over(base.get(key), value) for key, value in changes.items()}}
