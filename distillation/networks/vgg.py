"""VGG-11 (Simonyan & Zisserman 2015) with a norm after each convolution and one linear layer (as in DC, ICLR 2021)."""

from torch import nn

from distillation.networks.names import Spec, first_padding
from distillation.networks.norms import norm

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))  # channels of the convolutions between two poolings


def body(spec: Spec, channels: int, size: int) -> nn.Sequential:
    """Builds the layers before the classifier: (N, channels, size, size) to (N, 512, size / 32, size / 32).

    Each of the five poolings rounds down. MNIST's 28 pixels become 32 by the padding of the first convolution, see
    ``names.first_padding``.
    """
    layers, inside = [], channels
    for stage in _STAGES:
        for width in stage:
            padding = 1 if layers else first_padding(1, channels, size)
            layers += [nn.Conv2d(inside, width, 3, padding=padding), norm(spec.norm, width), nn.ReLU(inplace=True)]
            inside = width
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers)
