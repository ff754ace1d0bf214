"""Networks from their word: built, initialised, counted. ``distillation.networks.names`` has the grammar and needs no torch."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from distillation.networks import alexnet, convnet, mobilenet, resnet, small, vgg
from distillation.networks.names import canonical, check, embeds
from distillation.runtime.errors import BadInput

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
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d)


class Network(nn.Module):
    """A body that makes features and a linear classifier.

    Attributes:
        word: the canonical word.
        body: images (N, C, H, W) to features.
        classifier: nn.Linear, ``features_size`` to classes.
        features_size: length of an image's flattened features.
    """

    def __init__(self, word, body, features_size, classes):
        super().__init__()
        self.word = word
        self.body = body
        self.classifier = nn.Linear(features_size, classes)

    @property
    def features_size(self):
        return self.classifier.in_features

    def embed(self, x):
        """Flattened features (N, features_size). Raises BadInput for a network that has none (``has_features``)."""
        if not has_features(self):
            raise BadInput(f"{self.word} has no features to match: choose a convolutional network such as ConvNet.")
        return self.body(x).flatten(1)

    def forward(self, x):
        """Logits (N, classes)."""
        return self.classifier(self.body(x).flatten(1))


def build(word, channels, size, classes, generator):
    """The network that ``word`` names for (N, channels, size, size) images, on the CPU, in training mode.

    Weights come from ``generator`` alone, as ``initialise`` draws them. Raises BadInput as ``words.check``.
    """
    network = _outline(word, channels, size, classes).to_empty(device="cpu")
    initialise(network, generator)
    return network


@torch.no_grad()
def initialise(network, generator):
    """Draw all weights of ``network`` anew from the CPU ``generator``, in place: same numbers on every device.

    PyTorch's default distributions, which the published runs used: weights and biases of convolutions and linear
    layers U(-1/sqrt(fan_in), 1/sqrt(fan_in)), norms 1 and 0 with fresh running statistics; and what a block adds in
    ``settle``.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = module.weight[0].numel() ** -0.5
            for parameter in module.parameters(recurse=False):
                draw = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                parameter.copy_(draw.uniform_(-bound, bound, generator=generator))
        elif isinstance(module, _NORMS):
            module.reset_parameters()
    for module in network.modules():
        if isinstance(module, resnet.Residual):
            module.settle()


def has_features(network):
    """Whether ``network.embed`` gives features: not for AlexCifarNet, LeNet and MLP, whose published forms have none."""
    return embeds(network.word)


def parameters(network):
    """Number of learnable numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops(word, channels, size, classes):
    """Floating-point operations of one image's forward pass: 2 a multiply-add of convolutions and linear layers."""
    network = _outline(word, channels, size, classes).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, channels, size, size, device="meta"))
    return counter.get_total_flops()


def _outline(word, channels, size, classes):
    """The network without memory for its weights, sized by a forward pass of shapes alone."""
    spec = check(word, channels, size)
    with torch.device("meta"), torch.no_grad():
        body = _BODIES[spec.family](spec, channels, size)
        features = body.eval()(torch.empty(1, channels, size, size)).flatten(1).shape[1]
        return Network(canonical(word), body, features, classes).train()
