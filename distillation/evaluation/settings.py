"""The settings of the section evaluate: those of all protocols, and each protocol's own section.

Pre-training, transfer and knowledge distillation have theirs in ``transfer_settings``, assessments in
``assess.settings``.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from distillation.bounds import Copies, Whole
from distillation.params import Params, Section, shown
from distillation.runtime.errors import BadInput
from distillation.training.settings import LabelSettings, LessonSettings, OnlineSettings, RegressionSettings

# The losses that a kind of labels allows in the protocol standard: ce is for classes and probabilities, l1 for logits.
LOSSES = {"hard": ("ce",), "soft": ("ce",), "logits": ("l1", "mse")}
# The evaluation pools of the official code of DC and DM, in their order, without the default tokens of a word.
NETWORK_SETS = {
    "M": ["MLP", "ConvNet", "LeNet", "AlexNet", "VGG11", "ResNet18"],
    "B": ["ConvNetBN", "ConvNetASwishBN", "AlexNetBN", "VGG11BN", "ResNet18BN"],
    "W": ["ConvNetW32", "ConvNetW64", "ConvNet", "ConvNetW256"],
    "D": ["ConvNetD1", "ConvNetD2", "ConvNet", "ConvNetD4"],
    "A": ["ConvNetAS", "ConvNet", "ConvNetAL", "ConvNetASwish"],
    "P": ["ConvNetNP", "ConvNetMP", "ConvNet"],
    "N": ["ConvNetNN", "ConvNetBN", "ConvNetLN", "ConvNet", "ConvNetGN"],
}


class Students(Section):
    """The students of a set: one for each network and seed.

    Attributes:
        networks: network names. An entry may be a letter of ``NETWORK_SETS``, which stands for all its networks; each
            is trained once, even if several letters have it.
        seeds: number of seeds, 0 to ``seeds`` - 1.
        precision: ``fp32`` or ``bf16``, of the networks' forward passes.
        compile: whether networks are compiled.
    """

    networks: list[str] = Field(min_length=1)
    seeds: Copies
    precision: Literal["fp32", "bf16"]
    compile: bool

    @field_validator("networks")
    @classmethod
    def _expanded(cls, values: list[str]) -> list[str]:
        if len(set(values)) != len(values):
            raise ValueError("should name each network once")
        return list(dict.fromkeys(word for value in values for word in NETWORK_SETS.get(value, [value])))


class EvaluateCommon(Students):
    """The settings of all protocols of classification.

    Attributes:
        test_every: epochs between tests whose best accuracy is recorded beside that of the last epoch; 0: none.
    """

    test_every: Whole


class Draws(Section):
    """The setting of the stage baseline alone.

    Attributes:
        draws: number of random sets in the mean of the random row.
    """

    draws: Copies


class Saving(Section):
    """The setting of the stage evaluate alone.

    Attributes:
        save_models: whether the weights of the trained students are stored in the out.
    """

    save_models: bool


class HardSettings(LabelSettings):
    """Training on hard labels in the protocol standard.

    The random, k-means and mean images have no learning rate of their own: their students use ``lr`` in any case.

    Attributes:
        set_lr: whether the set's own learning rate, which MTT learns with the images, replaces ``lr``.
    """

    set_lr: bool

    def of_set(self, info: Mapping[str, Any]) -> "HardSettings":
        """Returns the settings for one set: with its own learning rate as ``lr`` if ``set_lr`` is true.

        Args:
            info: the record of the DistilledSet.

        Raises:
            BadInput: ``set_lr`` is on, but the set has no learning rate.
        """
        if not self.set_lr:
            return self
        if "lr" not in info:
            raise BadInput(
                f"evaluate.standard.hard.set_lr is true, but the set, made by {info['method']}, has no learning rate of its "
                "own, as mtt learns one: set it to false."
            )
        return self.model_copy(update={"lr": info["lr"]})


TrainingSettings = LabelSettings | RegressionSettings | LessonSettings


class Standard(Section):
    """The protocol ``standard``: settings by the recorded kind of the labels; ``features`` have none."""

    hard: HardSettings
    soft: LabelSettings
    logits: LabelSettings
    regression: RegressionSettings
    online: OnlineSettings
    fkd: LessonSettings

    @model_validator(mode="after")
    def _losses(self) -> Self:
        for kind, allowed in LOSSES.items():
            if getattr(self, kind).loss not in allowed:
                raise ValueError(f"{kind}.loss must be {' or '.join(allowed)} for {kind} labels")
        return self


class Common(LabelSettings):
    """The protocol ``common``: one setting for every method, on hard labels even if the set has soft ones.

    ``evaluate.whole`` has the same fields.
    """

    loss: Literal["ce"]  # pyright: ignore[reportIncompatibleVariableOverride]: frozen, so that narrowing it is sound


PROTOCOLS = {"standard": Standard, "common": Common}


def training_settings(params: Params, protocol: object, kind: str) -> tuple[TrainingSettings, str]:
    """Returns the settings by which a protocol trains students on labels of a kind, and the kind as which it uses them.

    Args:
        params: the parameters.
        protocol: a key of ``PROTOCOLS``; any other value of ``evaluate.protocols`` is refused here.
        kind: the recorded kind of the set's labels, see ``DistilledSet.kind``.

    Returns:
        The settings, and ``kind`` for standard or ``hard`` for common.

    Raises:
        BadInput: there is no such protocol, its section is wrong, or the labels are features, which name no classes.
    """
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:  # a mapping or a list is no key at all
        raise BadInput(
            f"evaluate.protocols has {shown(protocol)}, but the protocols are {', '.join(PROTOCOLS)}; transfer and kd run on "
            "the datasets of targets and of evaluate.kd.teachers."
        )
    if kind == "features":
        raise BadInput(
            f"the protocol {protocol} trains classes, but the set is labelled with features: let evaluate.protocols be [] and "
            "transfer it to targets, or give it classes by relabel.kind hard, logits or probs."
        )
    section = params.section(f"evaluate.{protocol}", PROTOCOLS[protocol])
    return (getattr(section, kind), kind) if protocol == "standard" else (section, "hard")
