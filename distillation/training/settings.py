"""How one network is trained."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from distillation.augment.strategy import DC_OPERATIONS, operations
from distillation.augment.views import ViewSettings
from distillation.params import Section
from distillation.training.schedules import cosine, stepped, warmup_cosine

Milestone = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]


def known_augmentation(value):
    """The ``augment`` of TrainSettings as it is. Raises BadInput where it is none."""
    if value.startswith("dc_"):
        operations(value.removeprefix("dc_"), DC_OPERATIONS)
    elif value not in ("none", "dsa", "crop_flip"):
        operations(value)
    return value


class TrainSettings(Section):
    """SGD with momentum and steps of decay.

    ``milestones`` are epochs, or fractions of ``epochs``; at each the learning rate is multiplied by ``decay``.
    ``augment`` is none, dsa (all siamese families that keep the class), crop_flip (random crop with black padding of an
    eighth, and mirror), a siamese strategy such as ``color_crop_cutout``, or DC's own such as ``dc_crop_scale_rotate``.
    """

    optimizer: ClassVar[str] = "sgd"

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)
    augment: str

    def factor(self, epoch):
        """What the learning rate is multiplied by in an epoch, counted from 0."""
        return stepped(epoch, self.epochs, self.milestones, self.decay)

    _known = field_validator("augment")(known_augmentation)


class LabelSettings(TrainSettings):
    """Training on labels of one kind, with the loss that follows it."""

    loss: Literal["ce", "l1", "mse"]


class RegressionSettings(Section):
    """Training on label vectors that were learnt by regression, by Adam on the squared error (as FRePo does).

    The learning rate rises over ``warmup`` epochs, then falls along half a cosine to a hundredth. The official code counts
    steps: the same where all images are one ``batch``. ``augment`` as in TrainSettings.
    """

    optimizer: ClassVar[str] = "adamw"

    loss: Literal["mse"]
    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warmup: int = Field(ge=0)
    augment: str

    _known = field_validator("augment")(known_augmentation)

    @model_validator(mode="after")
    def _after_warmup(self):
        if self.warmup >= self.epochs:
            raise ValueError(f"has a warmup of {self.warmup} epochs, which must end before epoch {self.epochs}")
        return self

    def factor(self, epoch):
        """What the learning rate is multiplied by in an epoch, counted from 0."""
        return warmup_cosine(epoch, self.epochs, self.warmup, last=0.01)


class LessonSettings(Section):
    """Training on what a teacher says of the very batches, by the divergence from its softened answers.

    ``loss`` is kl, or kl_t2, which is multiplied by the squared temperature. The learning rate rises over ``warmup``
    epochs, then falls along half a ``cosine`` to 0 at epoch ``horizon`` (None: the last), or by ``decay`` at
    ``milestones``. Only sgd has ``momentum``.
    """

    loss: Literal["kl", "kl_t2"]
    epochs: int = Field(ge=1)
    optimizer: Literal["sgd", "adamw"]
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    schedule: Literal["cosine", "milestones"]
    warmup: int = Field(ge=0)
    horizon: int | None = Field(ge=1)
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _after_warmup(self):
        if self.warmup >= (end := self.horizon or self.epochs):
            raise ValueError(f"has a warmup of {self.warmup} epochs, which must end before epoch {end}")
        return self

    def factor(self, epoch):
        """What the learning rate is multiplied by in an epoch, counted from 0; warming up begins at a hundredth."""
        if epoch < self.warmup:
            return 0.01 + 0.99 * epoch / self.warmup
        if self.schedule == "milestones":
            return stepped(epoch, self.epochs, self.milestones, self.decay)
        done = (epoch - self.warmup) / ((self.horizon or self.epochs) - self.warmup)
        return cosine(min(done, 1))


class OnlineSettings(LessonSettings, ViewSettings):
    """The same where the teacher answers on the fly: batches are drawn as the student's training asks for them."""

    batch: int = Field(ge=1)
