"""The settings of evaluate: those of all protocols, and each protocol's own section."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from distillation.bounds import Copies, Whole
from distillation.params import Params, Section, shown
from distillation.runtime.errors import BadInput
from distillation.training.settings import LabelSettings, LessonSettings, OnlineSettings, RegressionSettings

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
    """The students of a set: ``networks`` × ``seeds``.

    Attributes:
        networks: network names; an entry may be one of ``NETWORK_SETS``, which is then expanded, each network once.
        seeds: number of seeds.
        precision: ``fp32`` or ``bf16``.
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
    """``test_every``: epochs between tests whose best each student records beside its last; 0: none."""

    test_every: Whole


class Draws(Section):
    """``draws``: the number of random sets in the mean of the random row."""

    draws: Copies


class Saving(Section):
    """``save_models``: whether the trained students are stored in the out."""

    save_models: bool


class HardSettings(LabelSettings):
    """``set_lr``: whether the set's own learning rate, which MTT learns with the images, replaces ``lr``.

    The random, k-means and mean images beside it have none; their students use ``lr``.
    """

    set_lr: bool

    def of_set(self, info: Mapping[str, Any]) -> "HardSettings":
        """Returns the settings for the DistilledSet with the record ``info``.

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
    """The protocol ``standard``: settings by the kind of the labels."""

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
    """The protocol ``common``: one setting for every method, on hard labels whatever the set carries."""

    loss: Literal["ce"]  # pyright: ignore[reportIncompatibleVariableOverride]: frozen, so that narrowing it is sound


PROTOCOLS = {"standard": Standard, "common": Common}


def training_settings(params: Params, protocol: object, kind: str) -> tuple[TrainingSettings, str]:
    """Returns the settings with which ``protocol`` trains on labels of a kind, and the kind that it uses.

    Raises:
        BadInput: there is no such protocol, or its section is wrong.
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
