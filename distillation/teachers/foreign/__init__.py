"""Networks of other libraries as teachers: torchvision, timm, OpenCLIP. Each has a file with the functions of ``Library``."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

import torch
from torch import Tensor, nn

from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator, seeded
from distillation.teachers.foreign.weights import fit, read

if TYPE_CHECKING:
    from distillation.networks.build import Network

LIBRARIES = ("torchvision", "timm", "openclip")


class Library(Protocol):
    """The functions that the file of each library defines."""

    def names(self) -> list[str]:
        """Lists the models."""
        ...

    def tags(self, name: str) -> list[str]:
        """Lists the published weights of a model."""
        ...

    def expects(self, name: str, tag: str | None) -> tuple[int, Sequence[float], Sequence[float]]:
        """Returns the size of the RGB images that a model takes, and the mean and std (3,) that normalise them."""
        ...

    def file(self, name: str, tag: str) -> Path:
        """Returns the path of published weights on this machine, downloading them if need be."""
        ...

    def create(self, name: str, classes: int | None) -> nn.Module:
        """Builds a model with random weights; None: for as many classes as the library's own."""
        ...

    def pretrained(self, name: str, tag: str, path: str | Path) -> nn.Module:
        """Builds a model with the published weights in a file."""
        ...

    def classifier(self, model: nn.Module) -> tuple[str, ...]:
        """Returns the prefixes of the names of the classifier's tensors."""
        ...

    def parts(self, model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        """Splits a model into what makes features and the linear layer that makes logits of them, if there is one."""
        ...


class NoClassifier(nn.Module):
    """The placeholder of the classifier in a network that only has features."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features

    def forward(self, features: Tensor) -> NoReturn:
        """Raises BadInput: there are no logits."""
        raise BadInput("this network has features but no classes.")


class Foreign(nn.Module):
    """A library's model with the interface of ``networks.build.Network``: a body that computes features, and a classifier."""

    def __init__(self, word: str, body: nn.Module, classifier: nn.Linear | NoClassifier) -> None:
        super().__init__()
        self.name, self.body, self.classifier = word, body, classifier

    @property
    def features_size(self) -> int:
        """The length of an image's features."""
        return self.classifier.in_features

    def embed(self, x: Tensor) -> Tensor:
        """Returns features (N, features_size): the classifier's inputs, or the library's embedding without one."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (N, classes).

        Raises:
            BadInput: there is no classifier.
        """
        return self.classifier(self.body(x))


def check(library: str, name: str, tag: str | None) -> None:
    """Raises BadInput if a library lacks a model, or the weights ``tag`` of it (None: the weights are in a file)."""
    module = _module(library)
    if name not in (models := module.names()):
        raise BadInput(f"{library} has no model {name!r}{_hint(name, models)}")
    if tag is not None and tag not in (tags := module.tags(name)):
        raise BadInput(f"{library} has no weights {tag!r} of {name}, but {', '.join(tags) or 'none at all'}.")


def expects(library: str, name: str, tag: str | None) -> tuple[int, list[float], list[float]]:
    """Returns (size, mean, std) of a model's inputs: RGB images (N, 3, size, size), normalised by channel from [0, 1]."""
    size, mean, std = _module(library).expects(name, tag)
    return size, [float(value) for value in mean], [float(value) for value in std]


def file(library: str, name: str, tag: str) -> Path:
    """Returns the path of published weights on this machine, downloading them if need be.

    Raises:
        BadInput: they cannot be downloaded; the sentence names the remedy.
    """
    return _module(library).file(name, tag)


def build(library: str, name: str, size: int, classes: int | None = None) -> Foreign:
    """Builds a model as a Foreign network whose weights are to be loaded; ``classes`` None: those of the library."""
    with seeded(generator(0, "replaced")):
        return _wrapped(library, name, _module(library).create(name, classes), size)


def pretrained(library: str, name: str, tag: str, path: str | Path, size: int) -> Foreign:
    """Builds a model with published weights as a Foreign network.

    Raises:
        BadInput: ``path`` does not hold them.
    """
    with seeded(generator(0, "replaced")):
        try:
            model = _module(library).pretrained(name, tag, path)
        except (RuntimeError, KeyError, ValueError, OSError) as error:
            fault = " ".join(str(error).split())[:200].rstrip(".")
            raise BadInput(f"{path} does not load as {library}'s {name}: {fault}.") from error
        return _wrapped(library, name, model, size)


def from_file(library: str, name: str, path: str | Path, size: int, classes: int | None) -> Foreign:
    """Builds a model with the weights in a user's file, by the library's tensor names.

    ``classes`` None: the classifier's weights are not read.
    """
    module = _module(library)
    with seeded(generator(0, "replaced")):
        model = module.create(name, classes)
        fit(model, read(path), path, module.classifier(model) if classes is None else ())
        return _wrapped(library, name, model, size)


def headless(network: "Network | Foreign") -> "Network | Foreign":
    """Replaces the network's classifier by NoClassifier, in place."""
    network.classifier = NoClassifier(network.features_size)  # pyright: ignore[reportAttributeAccessIssue]: has none
    return network


@torch.no_grad()
def _wrapped(library: str, name: str, model: nn.Module, size: int) -> Foreign:
    body, classifier = _module(library).parts(model.eval())
    features = body(torch.zeros(1, 3, size, size))
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise BadInput(f"{library}'s {name} does not give one vector of features for an image: choose another model.")
    if not isinstance(classifier, nn.Linear):
        classifier = NoClassifier(features.shape[1])
    return Foreign(name, body, classifier)


def _module(library: str) -> Library:
    try:
        if library == "torchvision":
            from distillation.teachers.foreign import torchvision as module
        elif library == "timm":
            from distillation.teachers.foreign import timm as module
        else:
            from distillation.teachers.foreign import openclip as module
    except ImportError as error:
        raise BadInput(f"{library} is not installed: run `pip install -r requirements-foundation.txt`.") from error
    return cast("Library", module)


def _hint(name: str, models: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, models, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else "."
