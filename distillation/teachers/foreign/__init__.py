"""Networks of other libraries as teachers: torchvision, timm, OpenCLIP.

Each library has a module with the functions of ``Library``, which is imported only if it is used: timm and OpenCLIP are
optional. The functions here choose the module, turn its errors into BadInput, and wrap its models as ``Foreign``. A
name is the library's name of a model (``resnet18``), a tag its name of published weights (``IMAGENET1K_V1``).
"""

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
    """The protocol of a library's module: the functions that it defines."""

    def names(self) -> list[str]:
        """Lists the names of the models that can be teachers."""
        ...

    def tags(self, name: str) -> list[str]:
        """Lists the tags of a model's published weights; empty if it has none."""
        ...

    def expects(self, name: str, tag: str | None) -> tuple[int, Sequence[float], Sequence[float]]:
        """Returns the pixels of a side of the RGB images that a model takes, and their mean and std by channel."""
        ...

    def file(self, name: str, tag: str) -> Path:
        """Returns the path of published weights on this machine, downloading them if need be, else raises BadInput."""
        ...

    def create(self, name: str, classes: int | None) -> nn.Module:
        """Builds a model with random weights for ``classes`` classes; None: for as many as the library's own."""
        ...

    def pretrained(self, name: str, tag: str, path: str | Path) -> nn.Module:
        """Builds a model with the published weights ``tag`` from their file ``path``, and the library's own classes."""
        ...

    def classifier(self, model: nn.Module) -> tuple[str, ...]:
        """Returns the prefixes of the names of the classifier's tensors, such as ``fc.``; none without a classifier."""
        ...

    def parts(self, model: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        """Splits a model, in place, into a module from images to features and its classifier, or None without one."""
        ...


class NoClassifier(nn.Module):
    """The placeholder of the classifier in a network that only has features; it has no weights.

    Args:
        in_features: length F of the features.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features

    def forward(self, features: Tensor) -> NoReturn:
        """Raises BadInput for all features (N, F): there are no logits."""
        raise BadInput("this network has features but no classes.")


class Foreign(nn.Module):
    """A library's model with the interface of ``networks.build.Network``.

    Attributes:
        name: the library's name of the model.
        body: module from images (N, 3, size, size) to features (N, features_size).
        classifier: the layer from features to logits.
    """

    def __init__(self, word: str, body: nn.Module, classifier: nn.Linear | NoClassifier) -> None:
        super().__init__()
        self.name, self.body, self.classifier = word, body, classifier

    @property
    def features_size(self) -> int:
        """The length of an image's features."""
        return self.classifier.in_features

    def embed(self, x: Tensor) -> Tensor:
        """Returns features (N, features_size) of images (N, 3, size, size).

        They are the inputs of the classifier or, of a model without one, its embedding.
        """
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits (N, classes) of images (N, 3, size, size).

        Raises:
            BadInput: there is no classifier.
        """
        return self.classifier(self.body(x))


def check(library: str, name: str, tag: str | None) -> None:
    """Checks that a library has a model, and published weights of it.

    Args:
        library: one of ``LIBRARIES``.
        name: the library's name of the model.
        tag: the name of the weights; None: they are in a file, and not checked.

    Raises:
        BadInput: the library is not installed, or it lacks the model or the weights; the sentence names what is close.
    """
    module = _module(library)
    if name not in (models := module.names()):
        raise BadInput(f"{library} has no model {name!r}{_hint(name, models)}")
    if tag is not None and tag not in (tags := module.tags(name)):
        raise BadInput(f"{library} has no weights {tag!r} of {name}, but {', '.join(tags) or 'none at all'}.")


def expects(library: str, name: str, tag: str | None) -> tuple[int, list[float], list[float]]:
    """Returns what a model's weights were trained on: RGB images (N, 3, size, size), normalised by channel from [0, 1].

    Args:
        library: one of ``LIBRARIES``.
        name: the library's name of the model.
        tag: the name of the weights; None: the library's default for the model.

    Returns:
        (size, mean, std): pixels of a side, and three numbers each for red, green and blue.
    """
    size, mean, std = _module(library).expects(name, tag)
    return size, [float(value) for value in mean], [float(value) for value in std]


def file(library: str, name: str, tag: str) -> Path:
    """Returns the path of published weights on this machine, downloading them if need be.

    Raises:
        BadInput: they cannot be downloaded; the sentence names the remedy.
    """
    return _module(library).file(name, tag)


def build(library: str, name: str, size: int, classes: int | None = None) -> Foreign:
    """Builds a model as a Foreign network whose weights are yet to be loaded, as from a pool.

    Args:
        library: one of ``LIBRARIES``.
        name: the library's name of the model.
        size: pixels of a side of its inputs.
        classes: number of classes; None: as many as the library's own.

    Raises:
        BadInput: the library is not installed, or the model has no feature vectors.
    """
    # Libraries draw initial weights from the global generator. ``seeded`` leaves that as it was; any seed will do.
    with seeded(generator(0, "replaced")):
        return _wrapped(library, name, _module(library).create(name, classes), size)


def pretrained(library: str, name: str, tag: str, path: str | Path, size: int) -> Foreign:
    """Builds a model with published weights as a Foreign network with the library's own classes.

    Args:
        library: one of ``LIBRARIES``.
        name: the library's name of the model.
        tag: the name of the weights.
        path: the file of these weights, see ``file``.
        size: pixels of a side of the model's inputs.

    Raises:
        BadInput: ``path`` does not hold the weights, or the model has no feature vectors.
    """
    with seeded(generator(0, "replaced")):
        try:
            model = _module(library).pretrained(name, tag, path)
        except (RuntimeError, KeyError, ValueError, OSError) as error:
            fault = " ".join(str(error).split())[:200].rstrip(".")
            raise BadInput(f"{path} does not load as {library}'s {name}: {fault}.") from error
        return _wrapped(library, name, model, size)


def from_file(library: str, name: str, path: str | Path, size: int, classes: int | None) -> Foreign:
    """Builds a model with the weights in a user's file, whose tensors have the library's names.

    Args:
        library: one of ``LIBRARIES``.
        name: the library's name of the model.
        path: a file that ``weights.read`` reads.
        size: pixels of a side of the model's inputs.
        classes: number of classes of the classifier in the file; None: its classifier is not read and may be missing.

    Raises:
        BadInput: the file does not fit the model, or the model has no feature vectors.
    """
    module = _module(library)
    with seeded(generator(0, "replaced")):
        model = module.create(name, classes)
        # Without ``classes`` the classifier in the file may have any number of classes, or be missing.
        fit(model, read(path), path, module.classifier(model) if classes is None else ())
        return _wrapped(library, name, model, size)


def headless(network: "Network | Foreign") -> "Network | Foreign":
    """Replaces the network's classifier by NoClassifier, in place, and returns the network."""
    network.classifier = NoClassifier(network.features_size)  # pyright: ignore[reportAttributeAccessIssue]: has none
    return network


@torch.no_grad()
def _wrapped(library: str, name: str, model: nn.Module, size: int) -> Foreign:
    body, classifier = _module(library).parts(model.eval())
    # The length of the features is measured: libraries state it in different ways, if at all.
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
