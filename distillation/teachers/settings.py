"""The settings of a pool of teachers, merged from three sections of params.yaml.

``teacher.<pool>`` holds the pool's own values. What it leaves out comes from ``pool``, and for its objective from
``objectives.<objective>``.
"""

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
        count: number of teachers of each network name, which differ in their random numbers alone.
        seed: seed of all random numbers (initial weights, order, augmentation).
        keep: the epochs whose weights are kept: numbers of epochs, ``last``, ``best`` (highest accuracy on a tenth of
            the training images, held out for it) and ``best_test`` (the published rule of CLOM and APM: highest
            accuracy on the test set; marked in every table).
        precision: ``fp32``, or ``bf16`` for networks under autocast.
        compile: whether networks run through torch.compile in training.
    """

    count: Copies
    seed: Whole
    keep: list[Kept] = Field(min_length=1)
    precision: Literal["fp32", "bf16"]
    compile: bool

    # ``networks`` is a field of PoolSettings alone, therefore check_fields.
    @field_validator("keep", "networks", check_fields=False)
    @classmethod
    def _once(cls, values: list) -> list:
        if len(set(values)) != len(values):
            raise ValueError("should name each entry once")
        return values


class PoolSettings(PoolDefaults):
    """The complete settings of one pool: each network ``count`` times, trained on ``source`` by ``objective``.

    Attributes:
        source: the dataset that the teachers are trained on: ``dataset``, or ``sources/<name>`` or ``targets/<name>``.
        objective: the name of a module of ``objectives``, such as ``supervised``.
        networks: network names; for an imported model the library's name of it.
        training: the validated section of the objective, an instance of ``Objective.settings``; in params.yaml it
            stands under the objective's name.
    """

    source: str = Field(pattern=r"^(dataset|(sources|targets)/[\w-]+)$")
    objective: str
    networks: list[str] = Field(min_length=1)
    training: Section

    def of_one(self, network: str) -> "PoolSettings":
        """Returns the settings reduced to one teacher of a network name, for its Job.

        The key of its work so does not depend on which other teachers the pool has.
        """
        return self.model_copy(update={"networks": [network], "count": 1})


OWN = ("source", "objective", "networks")  # the keys that every pool must set
COMMON = (*OWN, *PoolDefaults.model_fields)


def pool_settings(params: Params, pool: str) -> PoolSettings:
    """Reads, merges and validates the settings of ``teacher.<pool>``.

    Args:
        params: the parameters.
        pool: a key of the section ``teacher``.

    Raises:
        BadInput: a value is wrong, or values contradict each other; the sentence names the key.
    """
    # The defaults are validated first, on their own: a wrong one is then reported by its own key, not by the pool's.
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
    """Merges ``teacher.<pool>`` with the defaults, without validating the values.

    Returns:
        The fields of PoolSettings by name, except for ``training``, which stands under the objective's name.

    Raises:
        BadInput: the pool does not name its source, objective or networks, or names unknown ones.
    """
    own, names = params.value(f"teacher.{pool}"), objectives.names()
    _check_keys(own, names, f"teacher.{pool}")
    objective = own["objective"]
    if objective not in names:
        raise BadInput(f"teacher.{pool}.objective is {shown(objective)}, but the objectives are {', '.join(names)}.")
    # Values for other objectives that the pool may hold are left out: they must not change its key.
    common = {key: value for key, value in own.items() if key in COMMON}
    return {**params.value("pool"), **common, objective: section_of(params, pool, objective)}


def section_of(params: Params, pool: str, objective: str) -> Any:
    """Returns ``objectives.<objective>`` overridden by ``teacher.<pool>.<objective>``, not validated.

    The objective need not be the one that the pool uses: a pool may hold values for others, too.
    """
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
    """Returns ``base`` overridden by ``changes``: mappings are merged key by key, other values replaced."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return {**base, **{key: _over(base.get(key), value) for key, value in changes.items()}}
