"""How one network is trained."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from stages.augment.strategy import DC_OPERATIONS, operations
from stages.params import Section

Milestone = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]


class TrainSettings(Section):
    """SGD with momentum and steps of decay.

    ``milestones`` are epochs, or fractions of ``epochs``; at each the learning rate is multiplied by ``decay``.
    ``augment`` is none, dsa (all siamese families that keep the class), crop_flip (random crop with padding of an eighth
    and mirror), a siamese strategy such as ``color_crop_cutout``, or DC's own such as ``dc_crop_scale_rotate``.
    """

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)
    augment: str

    @field_validator("augment")
    @classmethod
    def _known(cls, value):
        if value.startswith("dc_"):
            operations(value.removeprefix("dc_"), DC_OPERATIONS)
        elif value not in ("none", "dsa", "crop_flip"):
            operations(value)
        return value


class LabelSettings(TrainSettings):
    """Training on labels of one kind, with the loss that follows it."""

    loss: Literal["ce", "l1", "mse"]
