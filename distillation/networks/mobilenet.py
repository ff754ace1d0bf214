"""MobileNetV2 (Sandler et al. 2018) in KRR-ST's variant: expansion 2 (not 6), ReLU (not ReLU6), fewer strides of 2."""

from torch import Tensor, nn

from distillation.networks.names import Spec
from distillation.networks.norms import norm

_STAGES = (  # expansion, channels, blocks, stride of the first block
    (1, 16, 1, 1),
    (2, 24, 2, 1),
    (2, 32, 3, 2),
    (2, 64, 4, 2),
    (2, 96, 3, 1),
    (2, 160, 3, 2),
    (2, 320, 1, 1),
)


def body(spec: Spec, channels: int, size: int) -> nn.Sequential:
    """Builds the layers before the classifier: (N, channels, size, size) to (N, 1280, 1, 1), of images of any size."""
    layers, inside = _unit(spec, channels, 32, 3), 32
    for expansion, outside, blocks, stride in _STAGES:
        for block in range(blocks):
            layers += [Inverted(spec, inside, outside, expansion, stride if block == 0 else 1)]
            inside = outside
    return nn.Sequential(*layers, *_unit(spec, inside, 1280, 1), nn.AdaptiveAvgPool2d(1))


class Inverted(nn.Module):
    """An inverted residual: 1x1 convolution to more channels, 3x3 on each channel, 1x1 to fewer, without a final ReLU.

    With stride 1 a shortcut is added: the identity, or a 1x1 convolution with norm if the channels differ.

    Args:
        spec: for the norm.
        inside: channels of the input.
        outside: channels of the output.
        expansion: factor of the channels between both 1x1 convolutions.
        stride: of the 3x3 convolution.
    """

    def __init__(self, spec: Spec, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = expansion * inside
        self.branch = nn.Sequential(
            *_unit(spec, inside, width, 1),
            *_unit(spec, width, width, 3, stride, groups=width),
            *_unit(spec, width, outside, 1)[:-1],  # without the ReLU: the linear bottleneck
        )
        self.shortcut = None
        if stride == 1:
            self.shortcut = nn.Identity() if inside == outside else nn.Sequential(*_unit(spec, inside, outside, 1)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inside, H, W) to (N, outside, H / stride, W / stride)."""
        y = self.branch(x)
        return y if self.shortcut is None else y + self.shortcut(x)


def _unit(spec: Spec, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Returns convolution, norm and ReLU as a list of layers; the padding keeps the size at stride 1."""
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, norm(spec.norm, outside), nn.ReLU(inplace=True)]
