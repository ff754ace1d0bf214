"""The settings that all self-supervised objectives share.

Each objective's section ends with ``probe``, the linear classifier trained on the frozen features (None: features
only), and ``knn``, the vote among neighbours.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from distillation.bounds import MOST, Count, Positive, Weight, Whole
from distillation.params import Section
from distillation.training.settings import Milestone

Share = Annotated[float, Field(ge=0, le=1)]


class Pretraining(Section):
    """The settings of training without labels that do not depend on the objective.

    Attributes:
        epochs: passes over the images.
        batch: images of a step; images that do not fill a batch are left out of an epoch.
        optimizer: ``sgd``, ``lars`` (SGD with rates adapted layer by layer, clipped as in solo-learn) or ``adamw``.
        lr: the learning rate after ``warmup``, not scaled by the batch; it then falls to 0 along half a cosine.
        momentum: of sgd and lars.
        weight_decay: of all parameters (sgd), or of all but biases and norms (lars, adamw).
        trust: lars only: norm of a layer's step, relative to that of its weights, where it is not clipped.
        warmup: epochs of the linear warm-up, fewer than ``epochs``; 0: none.
        crop: least fraction of an image's area in a large view, in (0, 1].
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
    """The settings of the linear probe.

    SGD trains a linear classifier on the frozen features of all training images, by cross-entropy. It becomes the
    teacher's classifier: without a probe a pool has features but no logits.

    Attributes:
        epochs: passes over the images.
        batch: images of a step; the last batch of an epoch may have fewer.
        lr: the learning rate at first, not scaled by the batch.
        momentum: of SGD; not Nesterov's.
        weight_decay: of weights and biases.
        milestones: epochs, or fractions of ``epochs``, after which the rate is multiplied by ``decay``.
        decay: see ``milestones``.
        augment: ``rrc``: features of images that are cropped, resized and mirrored anew in every epoch, as in MoCo's
            protocol; ``none``: those of the images as they are, computed once.
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
    """The settings of the vote among neighbours, by which features are tested without training (k-NN accuracy).

    Attributes:
        k: number of neighbours that vote, at most the number of training images.
        temperature: of the weight exp(cosine / temperature) of a vote.
    """

    k: Count
    temperature: Positive


if TYPE_CHECKING:

    class MeasuredPretraining(Pretraining):
        """The type of all self-supervised sections; each declares the two fields itself, at its end."""

        probe: ProbeSettings | None
        knn: KnnSettings
