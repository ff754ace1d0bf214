"""Models of timm. Weights are its tags, such as a1_in1k of resnet18."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import timm
from timm.data import resolve_data_config
from torch import nn

from distillation.runtime.errors import BadInput
from distillation.teachers.foreign.hub import hub_file
from distillation.teachers.foreign.weights import read

if TYPE_CHECKING:
    from timm.models import PretrainedCfg


def names() -> list[str]:
    return timm.list_models()


def tags(name: str) -> list[str]:
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]


def expects(name: str, tag: str | None) -> tuple[int, Sequence[float], Sequence[float]]:
    """Of the model's default weights where there is no tag."""
    config = resolve_data_config(pretrained_cfg=_config(name, tag).to_dict())
    return config["input_size"][-1], config["mean"], config["std"]


def file(name: str, tag: str) -> Path:
    config = _config(name, tag)
    if not config.hf_hub_id:
        raise BadInput(f"timm's {name}.{tag} is not on the Hugging Face hub: give its file.")
    return hub_file(config.hf_hub_id, config.hf_hub_filename or "model.safetensors")


def create(name: str, classes: int | None) -> nn.Module:
    return timm.create_model(name, num_classes=classes)


def pretrained(name: str, tag: str, path: str | Path) -> nn.Module:
    """With the names of tensors changed as timm does for some models."""
    return timm.create_model(f"{name}.{tag}", pretrained=True, pretrained_cfg_overlay={"state_dict": read(path)})


def classifier(model: nn.Module) -> tuple[str, ...]:
    names = model.default_cfg["classifier"]
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def parts(model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    linear = model.get_classifier()
    model.reset_classifier(0)
    return model, linear


def _config(name: str, tag: str | None) -> "PretrainedCfg":
    return timm.models.get_pretrained_cfg(f"{name}.{tag}" if tag else name)
