"""What every self-supervised objective reads of its section, whatever else it has.

A section ends with ``probe``, the linear classifier that is trained on what was learnt (None: features only), and
``knn``, how the votes of neighbours are counted.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from distillation.params import Section
from distillation.training.settings import Milestone

Share = Annotated[float, Field(ge=0, le=1)]


class Pretraining(Section):
    """How a network is trained without labels.

    Attributes:
        epochs, batch: an epoch leaves out the images that do not fill a batch.
        optimizer: sgd; lars (layer-wise adaptive rates, clipped as solo-learn does, of ``trust``); adamw.
        lr: reached after ``warmup`` epochs, from where it falls to 0 along a cosine.
        momentum: of sgd and lars.
        weight_decay: lars and adamw leave out biases and norms.
        crop: the least share of an image that a large view shows.
    """

    epochs: int = Field(ge=1)
    batch: int = Field(ge=2)
    optimizer: Literal["sgd", "lars", "adamw"]
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    trust: float = Field(gt=0)
    warmup: int = Field(ge=0)
    crop: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _warmed_up(self) -> Self:
        if self.warmup >= self.epochs:
            raise ValueError(f"has a warmup of {self.warmup} epochs, but should have fewer than epochs, {self.epochs}")
        return self


class ProbeSettings(Section):
    """How a linear classifier is trained on frozen features: SGD with steps of decay, as TrainSettings have them."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)


class KnnSettings(Section):
    """How many neighbours vote, and the temperature of their weights."""

    k: int = Field(ge=1)
    temperature: float = Field(gt=0)


if TYPE_CHECKING:

    class MeasuredPretraining(Pretraining):
        """The part that the sections of all self-supervised objectives share; each declares the two in its own order."""

        probe: ProbeSettings | None
        knn: KnnSettings
