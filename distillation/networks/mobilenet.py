"""MobileNetV2 (Sandler et al. 2018) in KRR-ST's variant: expansion 2, ReLU, for small images."""

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
    """Builds the layers before the classifier: (N, channels, size, size) to (N, 1280, 1, 1)."""
    layers, inside = _unit(spec, channels, 32, 3), 32
    for expansion, outside, blocks, stride in _STAGES:
        for block in range(blocks):
            layers += [Inverted(spec, inside, outside, expansion, stride if block == 0 else 1)]
            inside = outside
    return nn.Sequential(*layers, *_unit(spec, inside, 1280, 1), nn.AdaptiveAvgPool2d(1))


class Inverted(nn.Module):
    """A block that widens by 1x1, filters each channel by 3x3 and narrows by 1x1, with a shortcut if its stride is 1."""

    def __init__(self, spec: Spec, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = expansion * inside
        self.branch = nn.Sequential(
            *_unit(spec, inside, width, 1),
            *_unit(spec, width, width, 3, stride, groups=width),
            *_unit(spec, width, outside, 1)[:-1],
        )
        self.shortcut = None
        if stride == 1:
            self.shortcut = nn.Identity() if inside == outside else nn.Sequential(*_unit(spec, inside, outside, 1)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inside, H, W) to (N, outside, H / stride, W / stride)."""
        y = self.branch(x)
        return y if self.shortcut is None else y + self.shortcut(x)


def _unit(spec: Spec, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution, norm and ReLU as a list."""
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, norm(spec.norm, outside), nn.ReLU(inplace=True)]
