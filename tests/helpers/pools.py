"""Pools of teachers from sections of params.yaml."""

from distillation import params
from distillation.teachers.settings import PoolSettings, pool_settings
from tests.conftest import ROOT


def settings_of(section: dict, name: str = "main") -> PoolSettings:
    """The settings of the pool ``name`` with this section, over the product's ``pool`` and ``objectives``."""
    values = params.load(ROOT / "params.yaml").values
    return pool_settings(params.Params({**values, "teacher": {name: section}}), name)
