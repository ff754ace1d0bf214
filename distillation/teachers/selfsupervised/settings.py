"""The settings that all self-supervised objectives share.

Each objective's section ends with ``probe``, the linear classifier trained on the frozen features (None: features only),
and ``knn``, the vote among neighbours.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from distillation.bounds import MOST, Count, Positive, Weight, Whole
from distillation.params import Section
from distillation.training.settings import Milestone

Share = Annotated[float, Field(ge=0, le=1)]


class Pretraining(Section):
    """The settings of training without labels.

    Attributes:
        epochs: passes over the images.
        batch: images of a step; images that do not fill a batch are left out of an epoch.
        optimizer: sgd; lars (layer-wise adaptive rates, clipped as in solo-learn, see ``trust``); adamw.
        lr: the rate after ``warmup``, from which it falls to 0 along a cosine.
        momentum: of sgd and lars.
        weight_decay: for lars and adamw, not of biases and norms.
        trust: lars' ratio of gradient and weight norms.
        warmup: epochs of the linear warm-up.
        crop: least fraction of an image's area in a large view.
    """

    epochs: Count
    batch: int = Field(ge=2, le=MOST)
    optimizer: Literal["sgd", "lars", "adamw"]
    lr: Positive
    momentum: float = Field(ge=0, lt=1)
    weight_decay: Weight
    trust: Positive
    warmup: Whole
    crop: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _warmed_up(self) -> Self:
        if self.warmup >= self.epochs:
            raise ValueError(f"has a warmup of {self.warmup} epochs, but should have fewer than epochs, {self.epochs}")
        return self


class ProbeSettings(Section):
    """The settings of the linear classifier that SGD trains on frozen features of all training images, by cross-entropy.

    It becomes the teacher's classifier: without a probe a pool has features but no logits.

    Attributes:
        epochs: passes over the images.
        batch: images of a step; the last batch of an epoch may have fewer.
        lr: the learning rate at first, not scaled by the batch.
        momentum: of SGD; not Nesterov's.
        weight_decay: of weights and biases.
        milestones: epochs, or fractions of ``epochs``, after which the rate is multiplied by ``decay``.
        decay: see ``milestones``.
        augment: ``rrc``: features of images that are cropped, resized and mirrored anew in every epoch, as in MoCo's protocol;
            ``none``: those of the images as they are, computed once.
        crop: the least fraction of the area that ``rrc`` keeps.
    """

    epochs: Count
    batch: Count
    lr: Positive
    momentum: float = Field(ge=0, lt=1)
    weight_decay: Weight
    milestones: list[Milestone]
    decay: float = Field(gt=0, le=1)
    augment: Literal["none", "rrc"]
    crop: float = Field(gt=0, le=1)


class KnnSettings(Section):
    """The settings of the vote among neighbours: their number, and the temperature of their weights."""

    k: Count
    temperature: Positive


if TYPE_CHECKING:

    class MeasuredPretraining(Pretraining):
        """The part that the sections of all self-supervised objectives share; each declares the two in its own order."""

        probe: ProbeSettings | None
        knn: KnnSettings
