"""Models of timm. Weights are its tags, such as a1_in1k of resnet18."""

# pyright takes this very file for the package of its name.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
from timm.data import resolve_data_config  # pyright: ignore[reportMissingImports]: optional, of requirements-foundation.txt
from torch import nn

from distillation.runtime.errors import BadInput
from distillation.teachers.foreign.hub import hub_file
from distillation.teachers.foreign.weights import read

if TYPE_CHECKING:
    from timm.models import PretrainedCfg  # pyright: ignore[reportMissingImports]: as above


def names() -> list[str]:
    """Lists timm's architectures, sorted, such as ``resnet18``, with published weights or without; works offline."""
    return timm.list_models()


def tags(name: str) -> list[str]:
    """Lists the tags of an architecture's published weights, such as ``a1_in1k``; empty if it has none.

    It needs no network connection.
    """
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]


def expects(name: str, tag: str | None) -> tuple[int, Sequence[float], Sequence[float]]:
    """Returns size, mean and std of the inputs; without a tag those of the model's default weights."""
    config = resolve_data_config(pretrained_cfg=_config(name, tag).to_dict())
    return config["input_size"][-1], config["mean"], config["std"]


def file(name: str, tag: str) -> Path:
    """Returns the path of the weights, downloaded from the hub if need be.

    Raises:
        BadInput: they are not on the hub, or cannot be downloaded.
    """
    config = _config(name, tag)
    if not config.hf_hub_id:
        raise BadInput(f"timm's {name}.{tag} is not on the Hugging Face hub: give its file.")
    return hub_file(config.hf_hub_id, config.hf_hub_filename or "model.safetensors")


def create(name: str, classes: int | None) -> nn.Module:
    """Builds a model with random weights."""
    return timm.create_model(name, num_classes=classes)


def pretrained(name: str, tag: str, path: str | Path) -> nn.Module:
    """Builds a model with the weights in ``path``; timm translates the tensor names of some models."""
    return timm.create_model(f"{name}.{tag}", pretrained=True, pretrained_cfg_overlay={"state_dict": read(path)})


def classifier(model: Any) -> tuple[str, ...]:
    """Returns the prefixes of the classifier's tensor names."""
    names = model.default_cfg["classifier"]
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def parts(model: Any) -> tuple[nn.Module, nn.Module | None]:
    """Splits the model, in place, into what computes features and its classifier."""
    linear = model.get_classifier()
    model.reset_classifier(0)
    return model, linear


def _config(name: str, tag: str | None) -> "PretrainedCfg":
    return timm.models.get_pretrained_cfg(f"{name}.{tag}" if tag else name)
