"""The settings of relabel: a kind, and one subsection per kind."""

from typing import Literal

from pydantic import Field

from distillation.augment.views import ViewSettings
from distillation.params import Section


class Keep(Section):
    """The labels that the method made."""


class Picked(Section):
    """``pick``: the mean over the pool's predictions, or one teacher, its first."""

    pick: Literal["mean", "one"]


class Probs(Picked):
    """Probabilities of logits divided by ``temperature``."""

    temperature: float = Field(gt=0)


class Online(Probs):
    """The teacher itself goes with the images and answers each batch of a student's training.

    Its batch norms use in ``mode`` eval what they saw in training; in mode train the statistics of the very batch, as in
    the official CIFAR code of SRe2L and SC-DD, which never puts the teacher into eval mode (SRe2L++ makes it a feature).
    """

    mode: Literal["eval", "train"]


class Fkd(Online, ViewSettings):
    """The teacher's answers to ``epochs`` epochs of batches are stored, with all that made those batches (FKD)."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)


class Features(Section):
    """Features of the pool's first network: those of several networks have no mean."""


KINDS = {
    "keep": Keep,
    "hard": Picked,
    "logits": Picked,
    "probs": Probs,
    "online": Online,
    "fkd": Fkd,
    "features": Features,
}


class RelabelCommon(Section):
    """What every kind reads. ``control`` also labels random real images, where a teacher labels."""

    kind: Literal["keep", "hard", "logits", "probs", "online", "fkd", "features"]
    teacher: str
    control: bool
