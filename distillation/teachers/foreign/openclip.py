"""Image towers of OpenCLIP. Weights are its tags, such as laion2b_s34b_b79k of ViT-B-32."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import open_clip  # pyright: ignore[reportMissingImports]: optional, of requirements-foundation.txt
from open_clip.constants import (  # pyright: ignore[reportMissingImports]: as above
    HF_SAFE_WEIGHTS_NAME,
    HF_WEIGHTS_NAME,
    OPENAI_DATASET_MEAN,
    OPENAI_DATASET_STD,
)
from torch import nn

from distillation.teachers.foreign.hub import hub_file


def names() -> list[str]:
    """Lists the models of OpenCLIP."""
    return open_clip.list_models()


def tags(name: str) -> list[str]:
    """Lists the tags on the Hugging Face hub that were trained with the model's own kind of GELU.

    Others would load without an error, but with another activation than in training.
    """
    quick = open_clip.get_model_config(name).get("quick_gelu", False)
    configs = {tag: _config(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)}
    return [tag for tag, config in configs.items() if config["hf_hub"] and config.get("quick_gelu", False) == quick]


def expects(name: str, tag: str | None) -> tuple[int, Sequence[float], Sequence[float]]:
    """Returns size, mean and std of the inputs; without a tag mean and std are those of OpenAI's CLIP."""
    config = _config(name, tag) if tag else {}
    size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    return size, config.get("mean", OPENAI_DATASET_MEAN), config.get("std", OPENAI_DATASET_STD)


def file(name: str, tag: str) -> Path:
    """Returns the path of the weights, downloaded from the hub if need be."""
    repository, _, file_name = _config(name, tag)["hf_hub"].rpartition("/")
    # A tag may name a file, or a repository alone, whose file then has one of OpenCLIP's two usual names.
    return hub_file(repository, *([file_name] if file_name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]))


def create(name: str, classes: int | None) -> nn.Module:
    """Builds a model with random weights; it has no classes, so ``classes`` is ignored."""
    logging.disable(logging.WARNING)  # it warns that the weights are random
    try:
        return open_clip.create_model(name, pretrained_text=False)
    finally:
        logging.disable(logging.NOTSET)


def pretrained(name: str, tag: str, path: str | Path) -> nn.Module:
    """Builds a model with the weights in ``path``."""
    return open_clip.create_model(name, pretrained=str(path))


def classifier(model: nn.Module) -> tuple[str, ...]:
    """Returns no prefix: there is no classifier."""
    return ()


def parts(model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """Returns the image tower up to the shared space, and no classifier: its classes would be texts."""
    return cast("nn.Module", model.visual), None


def _config(name: str, tag: str) -> dict[str, Any]:
    return open_clip.pretrained.get_pretrained_cfg(name, tag)
