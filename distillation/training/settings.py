"""Sections of params.yaml that describe the training of one network; ``loop.Training`` reads them.

=======================  ===========================================  ============================
class                    what is trained                              optimiser
=======================  ===========================================  ============================
``TrainSettings``        experts of trajectories; base of the next    SGD, steps
``SupervisedSettings``   supervised teachers                          SGD, steps or cosine
``LabelSettings``        students on labels stored with the images    SGD, steps
``RegressionSettings``   students on label vectors of a regression    AdamW, warm-up and cosine
``LessonSettings``       students on a teacher's stored logits        SGD or AdamW, steps or cosine
``OnlineSettings``       the same, logits computed on the fly         SGD or AdamW, steps or cosine
=======================  ===========================================  ============================

Each has ``factor``, by which the loop multiplies ``lr`` in an epoch. Warm-ups and schedules change the rate once an
epoch.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from distillation.augment.strategy import DC_OPERATIONS, operations
from distillation.augment.views import ViewSettings
from distillation.bounds import Count, Positive, Weight, Whole
from distillation.params import Section
from distillation.training.schedules import cosine, stepped, warmup_cosine

# An epoch, or a fraction of all epochs.
Milestone = Count | Annotated[float, Field(gt=0, lt=1)]


def known_augmentation(value: str) -> str:
    """Checks the name of an augmentation (``augment`` of TrainSettings, which lists them) and returns it unchanged.

    Raises:
        BadInput: there is no such augmentation.
    """
    if value.startswith("dc_"):
        operations(value.removeprefix("dc_"), DC_OPERATIONS)
    elif value not in ("none", "dsa", "crop_flip"):
        operations(value)
    return value


class TrainSettings(Section):
    """Training by SGD with momentum and a learning rate that decays in steps.

    Attributes:
        epochs: number of epochs.
        batch: images of a batch; the last batch of an epoch may have fewer.
        lr: the initial learning rate.
        momentum: of SGD; 0: none.
        weight_decay: of SGD, on all parameters.
        milestones: epochs (int), or fractions of ``epochs`` (float below 1), at which the learning rate is multiplied
            by ``decay``.
        decay: that factor, in (0, 1].
        augment: ``none``, ``dsa`` (all siamese operations that keep the class), ``crop_flip`` (random crop with black
            padding of an eighth, and mirror), a siamese strategy such as ``color_crop_cutout``, or DC's own such as
            ``dc_crop_scale_rotate``.
    """

    optimizer: ClassVar[str] = "sgd"

    epochs: Count
    batch: Count
    lr: Positive
    momentum: float = Field(ge=0, lt=1)
    weight_decay: Weight
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)
    augment: str

    def factor(self, epoch: int) -> float:
        """The factor of the learning rate in an epoch, counted from 0."""
        return stepped(epoch, self.epochs, self.milestones, self.decay)

    _known = field_validator("augment")(known_augmentation)


class Scheduled(Section):
    """The schedule of a learning rate that may rise in a straight line, and then falls along half a cosine or in steps.

    Attributes:
        epochs: number of epochs.
        schedule: after the warm-up the rate falls along half a cosine to 0 (``cosine``), or by ``decay`` at each of the
            ``milestones`` (``milestones``).
        warmup: epochs over which the rate rises from a hundredth of ``lr`` to ``lr`` (as in torchvision's reference
            training and SRe2L); 0: none.
        milestones: as in TrainSettings; counted from the first epoch, the warm-up included.
        decay: as in TrainSettings.
    """

    epochs: Count
    schedule: Literal["cosine", "milestones"]
    warmup: Whole
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)

    @property
    def end(self) -> int:
        """The epoch at which the cosine is 0."""
        return self.epochs

    @model_validator(mode="after")
    def _after_warmup(self) -> Self:
        if self.warmup >= self.end:
            raise ValueError(f"has a warmup of {self.warmup} epochs, which must end before epoch {self.end}")
        return self

    def factor(self, epoch: int) -> float:
        """The factor of the learning rate in an epoch, counted from 0."""
        if epoch < self.warmup:
            return 0.01 + 0.99 * epoch / self.warmup
        if self.schedule == "milestones":
            return stepped(epoch, self.epochs, self.milestones, self.decay)
        # A horizon before the last epoch (LessonSettings) leaves the rate at 0; the cosine alone would rise again.
        return cosine(min((epoch - self.warmup) / (self.end - self.warmup), 1))


class SupervisedSettings(Scheduled, TrainSettings):
    """Training of a supervised teacher: as TrainSettings, with the choice of a schedule and of random resized crops.

    Attributes:
        augment: as in TrainSettings, or ``rrc`` (random resized crop, and mirror).
        crop: the least fraction of the area that ``rrc`` keeps.
    """

    crop: float = Field(gt=0, le=1)

    @field_validator("augment")
    @classmethod
    def _known(cls, value: str) -> str:
        return value if value == "rrc" else known_augmentation(value)


class LabelSettings(TrainSettings):
    """Training of a student on labels that are stored with the images: classes, or vectors such as logits.

    Attributes:
        loss: ``ce``, ``l1`` or ``mse``, see ``losses.loss_of``.
    """

    loss: Literal["ce", "l1", "mse"]


class RegressionSettings(Section):
    """Training of a student on label vectors of a regression, by AdamW on the squared error (as FRePo does).

    The learning rate rises from 0 over ``warmup`` epochs, then falls along half a cosine to a hundredth of ``lr``, as
    in FRePo's code. That code counts steps, which are epochs if all images are one ``batch``.

    Attributes:
        loss: ``mse``.
        epochs: number of epochs.
        batch: images of a batch.
        lr: the greatest learning rate.
        weight_decay: of AdamW.
        warmup: epochs over which the learning rate rises.
        augment: as in TrainSettings.
    """

    optimizer: ClassVar[str] = "adamw"

    loss: Literal["mse"]
    epochs: Count
    batch: Count
    lr: Positive
    weight_decay: Weight
    warmup: Whole
    augment: str

    _known = field_validator("augment")(known_augmentation)

    @model_validator(mode="after")
    def _after_warmup(self) -> Self:
        if self.warmup >= self.epochs:
            raise ValueError(f"has a warmup of {self.warmup} epochs, which must end before epoch {self.epochs}")
        return self

    def factor(self, epoch: int) -> float:
        """The factor of the learning rate in an epoch, counted from 0."""
        return warmup_cosine(epoch, self.epochs, self.warmup, last=0.01)


class LessonSettings(Scheduled):
    """Training of a student on a teacher's predictions for the same augmented batches (FKD, SRe2L).

    The loss is a divergence at a temperature, which comes with the labels. Of FKD batches and augmentation come with
    the labels, too, so that neither is set here.

    Attributes:
        loss: ``kl`` or ``kl_t2``, see ``losses.divergence``.
        optimizer: ``sgd`` or ``adamw``.
        lr: the greatest learning rate.
        momentum: of ``sgd``.
        weight_decay: of the optimiser.
        horizon: the epoch at which the cosine reaches 0; None: ``epochs``. SC-DD's code sets 600, three times its
            epochs, so that the rate ends well above 0.
    """

    loss: Literal["kl", "kl_t2"]
    optimizer: Literal["sgd", "adamw"]
    lr: Positive
    momentum: float = Field(ge=0, lt=1)
    weight_decay: Weight
    horizon: Count | None

    @property
    def end(self) -> int:
        """The epoch at which the cosine is 0."""
        return self.horizon or self.epochs


class OnlineSettings(LessonSettings, ViewSettings):
    """Training of a student on a teacher's predictions that are computed on the fly, for views drawn by ViewSettings.

    Attributes:
        batch: images of a batch.
    """

    batch: Count
