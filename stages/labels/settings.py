"""The settings of relabel: a kind, and one subsection per kind."""

from typing import Literal

from pydantic import Field

from stages.params import Section


class Keep(Section):
    """The labels that the method made."""


class Picked(Section):
    """``pick``: the mean over the pool's predictions, or one teacher, its first."""

    pick: Literal["mean", "one"]


class Probs(Picked):
    """Probabilities of logits divided by ``temperature``."""

    temperature: float = Field(gt=0)


class Features(Section):
    """Features of the pool's first network: those of several networks have no mean."""


KINDS = {"keep": Keep, "hard": Picked, "logits": Picked, "probs": Probs, "features": Features}


class RelabelCommon(Section):
    """What every kind reads. ``control`` also labels random real images, where a teacher labels."""

    kind: Literal["keep", "hard", "logits", "probs", "features"]
    teacher: str
    control: bool
