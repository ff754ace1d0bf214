"""Self-supervised objectives with settings that take moments."""

from typing import Any

import yaml

from distillation.teachers.settings import PoolSettings
from tests.helpers.clones import ROOT
from tests.helpers.pools import settings_of

PUBLISHED = yaml.safe_load((ROOT / "params.yaml").read_text())["objectives"]
WORD, RESIDUAL = "ConvNetW4D2BN", "ResNet10W4BN"
SMALL: dict[str, dict[str, Any]] = {  # sections of params.yaml, made small
    "moco_v2": {"queue": 24, "dim": 8, "splits": 2},
    "moco_v3": {"dim": 8, "hidden": 12},
    "swav": {"dim": 8, "hidden": 12, "prototypes": 6, "queue": 20, "queue_start": 1, "locals": 1, "local_size": 4},
    "dino": {"dim": 8, "hidden": 12, "out": 10, "teacher_warmup": 2, "locals": 1, "local_size": 4, "ema": 0.9},
    "barlow_twins": {"dim": 8, "hidden": 12},
}
PROBE = {**PUBLISHED["moco_v2"]["probe"], "epochs": 3, "batch": 25, "lr": 0.5}  # of 60 images: 3 steps an epoch
KNN = {"k": 5, "temperature": 0.1}


def section(name: str, **changes: Any) -> dict[str, Any]:
    """The settings of an objective, made small."""
    small = {"epochs": 2, "batch": 16, "warmup": 0, "lr": 0.05, "probe": PROBE, "knn": KNN}
    return {**PUBLISHED[name], **small, **SMALL[name], **changes}


def word_of(name: str) -> str:
    """A small network for an objective: one that takes small views, where there are any."""
    return RESIDUAL if "locals" in SMALL[name] else WORD


def pool_settings_of(
    name: str, word: str | None = None, change: dict[str, Any] | None = None, **changes: Any
) -> PoolSettings:
    """A small pool of an objective; ``change`` is for its section, the rest for the pool."""
    own = {"source": "dataset", "objective": name, "networks": [word or word_of(name)]}
    return settings_of({**own, **changes, name: section(name, **(change or {}))})
