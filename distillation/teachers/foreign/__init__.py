"""Networks of other libraries as teachers: torchvision, timm, OpenCLIP.

One file per library gives the ``names`` of its models, the ``tags`` of a model's published weights, what one
``expects`` (size, mean and std of RGB images), the ``file`` they are in, the model (``create`` at random,
``pretrained`` with them), its ``parts`` (what makes features, and the linear layer that makes logits of them, if there is
one) and what the names of the ``classifier``'s tensors begin with.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator, seeded
from distillation.teachers.foreign.weights import fit, read

if TYPE_CHECKING:
    from distillation.networks.build import Network

LIBRARIES = ("torchvision", "timm", "openclip")
Headed = TypeVar("Headed", "Network", "Foreign")


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
    """Stands where a network that only has features would have its classifier."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features

    def forward(self, features: Tensor) -> NoReturn:
        raise BadInput("this network has features but no classes.")


class Foreign(nn.Module):
    """A library's model in the form of ours: a body that makes features, and a classifier."""

    def __init__(self, word: str, body: nn.Module, classifier: nn.Linear | NoClassifier) -> None:
        super().__init__()
        self.name, self.body, self.classifier = word, body, classifier

    @property
    def features_size(self) -> int:
        return self.classifier.in_features

    def embed(self, x: Tensor) -> Tensor:
        """Features (N, features_size): what the classifier is given, or what stands for an image where there is none."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes). Raises BadInput where there is no classifier."""
        return self.classifier(self.body(x))


def check(library: str, name: str, tag: str | None) -> None:
    """Raise BadInput where a library has no such model, or no such weights of it (``tag`` None: they are in a file)."""
    module = _module(library)
    if name not in (known := module.names()):
        raise BadInput(f"{library} has no model {name!r}{_hint(name, known)}")
    if tag is not None and tag not in (known := module.tags(name)):
        raise BadInput(f"{library} has no weights {tag!r} of {name}, but {', '.join(known) or 'none at all'}.")


def expects(library: str, name: str, tag: str | None) -> tuple[int, list[float], list[float]]:
    """(size, mean, std): the RGB images (N, 3, size, size) that a model takes, and how they are normalised."""
    size, mean, std = _module(library).expects(name, tag)
    return size, [float(value) for value in mean], [float(value) for value in std]


def file(library: str, name: str, tag: str) -> Path:
    """The path of published weights on this machine, fetched if need be. Raises BadInput saying how to get them."""
    return _module(library).file(name, tag)


def build(library: str, name: str, size: int, classes: int | None = None) -> Foreign:
    """A model as a Foreign network, its weights still to be loaded; ``classes`` None: as many as the library's."""
    with seeded(generator(0, "replaced")):
        return _wrapped(library, name, _module(library).create(name, classes), size)


def pretrained(library: str, name: str, tag: str, path: str | Path, size: int) -> Foreign:
    """A model with published weights, as a Foreign network. Raises BadInput where ``path`` does not hold them."""
    with seeded(generator(0, "replaced")):
        try:
            model = _module(library).pretrained(name, tag, path)
        except (RuntimeError, KeyError, ValueError, OSError) as error:
            fault = " ".join(str(error).split())[:200].rstrip(".")
            raise BadInput(f"{path} does not load as {library}'s {name}: {fault}.") from error
        return _wrapped(library, name, model, size)


def from_file(library: str, name: str, path: str | Path, size: int, classes: int | None) -> Foreign:
    """A model with weights by the library's names from a person's file; ``classes`` None: its classifier is not read."""
    module = _module(library)
    with seeded(generator(0, "replaced")):
        model = module.create(name, classes)
        fit(model, read(path), path, module.classifier(model) if classes is None else ())
        return _wrapped(library, name, model, size)


def headless(network: Headed) -> Headed:
    """The network without its classifier."""
    network.classifier = NoClassifier(network.features_size)
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


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else "."
