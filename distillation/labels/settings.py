"""What every kind of labels reads, and what several share; each kind's own settings are in ``kinds``."""

from typing import Literal

from pydantic import Field, field_validator

from distillation.labels import kinds
from distillation.params import Section


class Picked(Section):
    """``pick``: the mean over the pool's predictions, or one teacher, its first."""

    pick: Literal["mean", "one"]


class Probs(Picked):
    """Probabilities of logits divided by ``temperature``."""

    temperature: float = Field(gt=0)


class Online(Probs):
    """The teacher itself labels batches.

    Its batch norms use in ``mode`` eval what they saw in training; in mode train the statistics of the very batch, as in
    the official CIFAR code of SRe2L and SC-DD, which never puts the teacher into eval mode (SRe2L++ makes it a feature).
    """

    mode: Literal["eval", "train"]


class RelabelCommon(Section):
    """What every kind reads. ``control`` also labels random real images, where a teacher labels."""

    kind: str
    teacher: str
    control: bool

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in kinds.names():
            raise ValueError(f"should be {', '.join(kinds.names())}")
        return value
