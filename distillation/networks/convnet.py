"""ConvNet: blocks of convolution, norm, activation and pooling (Gidaris & Komodakis 2018; as in DC, ICLR 2021)."""

from torch import nn

from distillation.networks.names import Spec, first_padding
from distillation.networks.norms import norm

_ACTIVATIONS = {
    "AR": lambda: nn.ReLU(inplace=True),
    "AS": nn.Sigmoid,
    "AL": lambda: nn.LeakyReLU(0.01, inplace=True),
    "ASwish": nn.SiLU,
}
_POOLINGS = {"AP": nn.AvgPool2d, "MP": nn.MaxPool2d}


def body(spec: Spec, channels: int, size: int) -> nn.Sequential:
    """Builds the layers before the classifier.

    Args:
        spec: of the family ``ConvNet``: widths of the blocks, activation, norm and pooling.
        channels: channels of the images.
        size: pixels of a side of the images.

    Returns:
        Blocks that map (N, channels, size, size) to feature maps (N, width of the last block, side, side). Each pooling
        halves the side, rounding down.
    """
    layers, side = [], size  # the side is followed for layer norm alone, whose weights have the size of the maps
    for i, width in enumerate(spec.widths):
        padding = first_padding(1, channels, size) if i == 0 else 1
        side += 2 * padding - 2  # 3x3 without padding takes one pixel at each edge
        layers += [nn.Conv2d(channels if i == 0 else spec.widths[i - 1], width, 3, padding=padding)]
        layers += [norm(spec.norm, width, side), _ACTIVATIONS[spec.activation]()]
        if spec.pooling != "NP":
            layers += [_POOLINGS[spec.pooling](2)]
            side //= 2
    return nn.Sequential(*layers)
