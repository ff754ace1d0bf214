"""Networks from their names: built, initialised, their operations counted.

``distillation.networks.names`` has the grammar of the names, and checks a name without importing torch. The layers
before the classifier are in the modules of the families.
"""

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn

from distillation.networks import alexnet, convnet, mobilenet, resnet, small, vgg
from distillation.networks.names import canonical, check, embeds
from distillation.runtime.errors import BadInput
from distillation.runtime.transfers import to_device

_BODIES = {
    "ConvNet": convnet.body,
    "AlexNet": alexnet.body,
    "AlexCifarNet": alexnet.cifar_body,
    "VGG11": vgg.body,
    "ResNet10": resnet.body,
    "ResNet18": resnet.body,
    "ResNet50": resnet.body,
    "MobileNetV2": mobilenet.body,
    "LeNet": small.lenet,
    "MLP": small.mlp,
}
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d)  # InstanceNorm is a GroupNorm, BatchNorm a BatchNorm2d


class Network(nn.Module):
    """A body that computes features, and a linear classifier; ``build`` makes it.

    Attributes:
        name: the canonical network name.
        body: module from images (N, C, H, W) to features, of any shape (N, ...).
        classifier: linear layer from ``features_size`` flattened features to logits.
    """

    def __init__(self, name: str, body: nn.Module, features_size: int, classes: int) -> None:
        super().__init__()
        self.name = name
        self.body = body
        self.classifier = nn.Linear(features_size, classes)

    @property
    def features_size(self) -> int:
        """The length of an image's flattened features."""
        return self.classifier.in_features

    def embed(self, x: Tensor) -> Tensor:
        """Computes flattened features (N, features_size) of images (N, C, H, W).

        Raises:
            BadInput: the network has no features (see ``has_features``).
        """
        if not has_features(self):
            raise BadInput(f"{self.name} has no features to match: choose a convolutional network such as ConvNet.")
        return self.body(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Computes logits (N, classes) of images (N, C, H, W)."""
        return self.classifier(self.body(x).flatten(1))


def build(name: str, channels: int, size: int, classes: int, generator: torch.Generator) -> Network:
    """Builds a network on the CPU, in training mode.

    Args:
        name: see ``names``.
        channels: channels of its images.
        size: pixels of a side of its images.
        classes: number of its logits.
        generator: a CPU generator, from which ``initialise`` draws all weights.

    Returns:
        A Network of float32 parameters.

    Raises:
        BadInput: as ``names.check``.
    """
    # PyTorch's own initialisation, which draws from the global generator, has not taken place in the outline
    network = outline(name, channels, size, classes).to_empty(device="cpu")
    initialise(network, generator)
    return network


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draws all weights of ``network`` anew from the CPU ``generator``, in place: the same numbers on every device.

    The distributions are PyTorch's defaults, as in the official code of DC, DSA, DM, MTT and APM: weights and biases of
    convolutions and linear layers U(-1/sqrt(fan_in), 1/sqrt(fan_in)), norms 1 and 0 with fresh running statistics. The
    convolutions of ResNets whose name has ``_He`` are drawn from N(0, 2 / fan_out), as in that of SRe2L, CDA, SC-DD and
    KRR-ST, but for a 3x3 stem. At last ``Residual.settle`` sets to 0 the branches that begin silent.

    Args:
        network: built by ``build``, on any device.
        generator: advanced by the draws; the order is that of the modules.
    """
    for module in network.modules():
        if isinstance(module, resnet.HeConv2d):
            deviation = (2 / module.weight[:, 0].numel()) ** 0.5  # (outputs, inputs, height, width): fan_out elements
            _set(module.weight, _empty(module.weight).normal_(0, deviation, generator=generator))
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = module.weight[0].numel() ** -0.5  # fan_in elements
            for parameter in module.parameters(recurse=False):
                _set(parameter, _empty(parameter).uniform_(-bound, bound, generator=generator))
        elif isinstance(module, _NORMS):
            module.reset_parameters()
    for module in network.modules():
        if isinstance(module, resnet.Residual):
            module.settle()


def _set(parameter: Tensor, drawn: Tensor) -> None:
    """Copies what was drawn on the CPU into a parameter on any device."""
    parameter.copy_(to_device(drawn, parameter.device))


def _empty(parameter: Tensor) -> Tensor:
    """Returns an empty tensor of the parameter's shape on the CPU, in float32 whatever the network's type is."""
    return torch.empty(parameter.shape, dtype=torch.float32, device="cpu")


class Named(Protocol):
    """Any object with a network name, such as a Network.

    Attributes:
        name: the network name.
    """

    name: str


def has_features(network: Named) -> bool:
    """Whether ``network.embed`` works: not for AlexCifarNet, LeNet and MLP, whose published forms have no features."""
    return embeds(network.name)


def parameters(network: nn.Module) -> int:
    """The number of learnable numbers of all parameters together; running statistics do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops(name: str, channels: int, size: int, classes: int) -> int:
    """Counts the floating-point operations of one image's forward pass.

    Each multiply-add of convolutions and linear layers counts as 2; other operations are left out. Nothing is computed.

    Args:
        name: see ``names``.
        channels: channels of the image.
        size: pixels of a side.
        classes: number of logits.

    Raises:
        BadInput: as ``names.check``.
    """
    from torch.utils.flop_counter import FlopCounterMode  # slow to import: it loads Triton

    network = outline(name, channels, size, classes).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, channels, size, size, device="meta"))
    return counter.get_total_flops()


def extent(name: str, channels: int, size: int, classes: int) -> tuple[int, int]:
    """Estimates what a network needs of memory, from shapes alone: nothing is computed, and no memory is taken.

    Arguments and errors are those of ``flops``.

    Returns:
        The number of learnable numbers, and how many numbers its convolutions and linear layers put out for one image.
        Norms, activations and poolings are left out of the latter.
    """
    return _extent(canonical(name), channels, size, classes)


@lru_cache(maxsize=256)
def _extent(name: str, channels: int, size: int, classes: int) -> tuple[int, int]:
    """Computes ``extent`` of a canonical name, once for all its spellings."""
    network, outputs = outline(name, channels, size, classes).eval(), []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(lambda _, inputs, output: outputs.append(output.numel()))
    with torch.no_grad():
        network(torch.empty(1, channels, size, size, device="meta"))
    return parameters(network), sum(outputs)


def outline(name: str, channels: int, size: int, classes: int) -> Network:
    """Builds the network on the device ``meta``: shapes without memory or values.

    A forward pass of shapes finds the number of features, so that no family has to compute it. Raises as
    ``names.check``.
    """
    spec = check(name, channels, size)
    with torch.device("meta"), torch.no_grad():
        body = _BODIES[spec.family](spec, channels, size)
        features = body.eval()(torch.empty(1, channels, size, size)).flatten(1).shape[1]
        return Network(canonical(name), body, features, classes).train()
