"""Models of torchvision. Weights are the names in its enumerations, such as IMAGENET1K_V1 of resnet18."""

import urllib.error
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torchvision import models

from distillation.runtime.errors import BadInput
from distillation.teachers.foreign.weights import fit, read, sha256

# The published weights of the first two take differently normalised images, and SqueezeNet has no linear layer.
_LEFT_OUT = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")


def names() -> list[str]:
    """Lists the models of torchvision that can be teachers."""
    return [name for name in models.list_models(module=models) if name not in _LEFT_OUT]


def tags(name: str) -> list[str]:
    """Lists the published weights of a model."""
    return [weights.name for weights in models.get_model_weights(name)]


def expects(name: str, tag: str | None) -> tuple[int, Sequence[float], Sequence[float]]:
    """Returns size, mean and std of the inputs; without a tag those of the model's default weights."""
    preset = models.get_model_weights(name)[tag or "DEFAULT"].transforms()
    return preset.crop_size[0], preset.mean, preset.std


def file(name: str, tag: str) -> Path:
    """Returns the path of the weights in torch's cache, downloading them if need be.

    They are checked against the hash in the file's name, also if they were there.

    Raises:
        BadInput: they cannot be downloaded, or the file is not the published one.
    """
    url = models.get_model_weights(name)[tag].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (urllib.error.URLError, OSError) as error:
            raise BadInput(f"{url} could not be fetched ({error}): put it into {path.parent}/.") from error
    published = torch.hub.HASH_REGEX.search(path.name)
    assert published is not None  # torchvision names its files so
    if not sha256(path).startswith(published[1]):
        raise BadInput(f"{path} is not the published file, whose sha256 begins as its name says: remove it.")
    return path


def create(name: str, classes: int | None) -> nn.Module:
    """Builds a model with random weights."""
    return models.get_model(name, weights=None, **({} if classes is None else {"num_classes": classes}))


def pretrained(name: str, tag: str, path: str | Path) -> nn.Module:
    """Builds a model with the weights in ``path``."""
    model = create(name, None)
    fit(model, read(path), path)
    return model


def classifier(model: nn.Module) -> tuple[str, ...]:
    """Returns the prefix of the last linear layer's tensor names."""
    return (f"{_last_linear(model)}.",)


def parts(model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """Splits the model, in place, into what computes features and its last linear layer."""
    name = _last_linear(model)
    linear = model.get_submodule(name)
    model.set_submodule(name, torch.nn.Identity())
    return model, linear


def _last_linear(model: nn.Module) -> str:
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)][-1]
