"""AlexNet for small images: five convolutions, three poolings, one linear layer (the variant of DC, ICLR 2021)."""

from torch import nn

from stages.networks.norms import norm
from stages.networks.words import first_padding


def body(spec, channels, size):
    """Everything before the classifier: (N, channels, size, size) to (N, 192, size / 8, size / 8)."""

    def block(inside, outside, kernel, padding):
        return [nn.Conv2d(inside, outside, kernel, padding=padding), norm(spec.norm, outside), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *block(channels, 128, 5, first_padding(2, channels, size)),
        nn.MaxPool2d(2),
        *block(128, 192, 5, 2),
        nn.MaxPool2d(2),
        *block(192, 256, 3, 1),
        *block(256, 192, 3, 1),
        *block(192, 192, 3, 1),
        nn.MaxPool2d(2),
    )
