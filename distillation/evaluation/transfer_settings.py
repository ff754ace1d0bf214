"""The settings of pre-training, by the kind of the labels, and of transfer and knowledge distillation."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from distillation.bounds import LARGEST, Count, Positive, Weight, Whole
from distillation.params import Section
from distillation.training.settings import LabelSettings

# KRR-ST's code fine-tunes for 10,000 steps on these, for 5,000 on every other dataset.
LONG, STEPS = ("cifar10", "cifar100", "tinyimagenet"), {True: 10_000, False: 5_000}


class SoftSettings(Section):
    """Pre-training on soft labels by AdamW.

    The learning rate rises linearly from 0 over ``warmup`` steps, then falls along half a cosine to 0.

    Attributes:
        steps: number of steps, warm-up included.
        batch: images of a batch.
        lr: the greatest learning rate.
        weight_decay: of AdamW.
        warmup: steps over which the rate rises.
        augment: ``dsa`` or ``none``, see ``pretrain.augmented``.
    """

    steps: Count
    batch: Count
    lr: Positive
    weight_decay: Weight
    warmup: Whole
    augment: Literal["none", "dsa"]

    @model_validator(mode="after")
    def _after_warmup(self) -> Self:
        if self.warmup >= self.steps:
            raise ValueError(f"warms up for {self.warmup} of {self.steps} steps, which should be more")
        return self


class Pretrain(Section):
    """The training of a network on a set before its transfer, as KRR-ST's code does for each method it compares.

    Attributes:
        hard: of class numbers, by cross-entropy.
        soft: of probabilities, logits and regression labels, by half the squared error, summed over classes.
        features: of features, by the mean squared error.
    """

    hard: LabelSettings
    soft: SoftSettings
    features: LabelSettings

    @model_validator(mode="after")
    def _losses(self) -> Self:
        for kind, loss in (("hard", "ce"), ("features", "mse")):
            if getattr(self, kind).loss != loss:
                raise ValueError(f"{kind}.loss must be {loss} for {kind} labels")
        return self


class StepSettings(Section):
    """The settings of SGD at a learning rate that falls along half a cosine to 0, one batch a step.

    Attributes:
        batch: images of a batch.
        lr: the initial learning rate.
        momentum: of SGD.
        weight_decay: of SGD.
    """

    batch: Count
    lr: Positive
    momentum: float = Field(ge=0, lt=1)
    weight_decay: Weight


class Finetune(StepSettings):
    """The settings of fine-tuning the whole network.

    Attributes:
        steps: number of steps; auto: as many as KRR-ST's code takes on the dataset (``STEPS``).
        crop: black pixels around an image before a random crop, with mirroring if that keeps the class; 0: neither.
    """

    steps: Literal["auto"] | Count
    crop: int = Field(ge=0, le=LARGEST)

    def on(self, dataset: str) -> int:
        """Returns the number of steps on a dataset of that name."""
        return STEPS[dataset in LONG] if self.steps == "auto" else self.steps


class Linear(StepSettings):
    """The settings of a linear layer on the frozen network's features.

    Attributes:
        steps: number of steps.
    """

    steps: Count

    def on(self, dataset: str) -> int:
        """Returns the number of steps, the same for every dataset; ``Finetune.on`` has the same signature."""
        return self.steps


class Transfer(Section):
    """The section ``evaluate.transfer``.

    Attributes:
        protocols: how pre-trained networks are transferred to each dataset of ``targets``.
        finetune: settings of that protocol.
        linear: settings of that protocol.
    """

    protocols: list[Literal["finetune", "linear"]] = Field(min_length=1)
    finetune: Finetune
    linear: Linear

    @field_validator("protocols")
    @classmethod
    def _once(cls, values: list[str]) -> list[str]:
        if len(set(values)) != len(values):
            raise ValueError("should name each protocol once")
        return values


class Distilling(Section):
    """The settings of knowledge distillation by AdamW.

    The learning rate falls along half a cosine to 0, epoch by epoch.

    Attributes:
        epochs: passes over the images of the set.
        batch: images of a batch.
        lr: the initial learning rate.
        lr_gaussian: the same for the control on noise.
        weight_decay: of AdamW.
        augment: ``dsa`` or ``none``, see ``pretrain.augmented``; noise is never augmented.
    """

    epochs: Count
    batch: Count
    lr: Positive
    lr_gaussian: Positive
    weight_decay: Weight
    augment: Literal["none", "dsa"]


class Kd(Distilling):
    """The section ``evaluate.kd``.

    Attributes:
        teachers: the pool that was trained on a dataset, by its name in ``targets``. The stage kd runs for each.
    """

    teachers: dict[str, str]
