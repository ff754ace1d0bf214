"""The settings that all kinds of labels share; each kind's own settings are in ``kinds``."""

from typing import Literal

from pydantic import field_validator

from distillation.bounds import Positive
from distillation.data.stored import Form
from distillation.labels import kinds
from distillation.params import Section


class Picked(Section):
    """Which teachers of a pool label.

    Attributes:
        pick: ``mean``: all, and their predictions are averaged; ``one``: the first alone.
    """

    pick: Literal["mean", "one"]


class Probs(Picked):
    """Labels at a temperature.

    Attributes:
        temperature: what logits are divided by before softmax.
    """

    temperature: Positive


class Online(Probs):
    """The settings of a teacher that labels every batch.

    Attributes:
        mode: eval: batch norms use the statistics of their training; train: those of the batch, as in the official CIFAR code
            of SRe2L and SC-DD, which never puts the teacher into eval mode (SRe2L++ makes it a feature).
    """

    mode: Literal["eval", "train"]


class RelabelCommon(Section):
    """The settings of every kind.

    Attributes:
        kind: the kind of labels: the name of a file of ``kinds``.
        teacher: name of the pool that labels; ``keep`` reads none.
        control: whether random real images are labelled too, if a teacher labels.
        pixels: the form of the images, which students and labelling teachers see: ``float``: the method's numbers; or these
            as read from ``png`` or ``jpeg`` files; see ``data.stored.as_read``.
    """

    kind: str
    teacher: str
    control: bool
    pixels: Form

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in kinds.names():
            raise ValueError(f"should be {', '.join(kinds.names())}")
        return value
