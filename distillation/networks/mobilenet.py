"""MobileNetV2 (Sandler et al. 2018) as KRR-ST has it: expansion 2, ReLU, for small images."""

from torch import nn

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


def body(spec, channels, size):
    """Everything before the classifier: (N, channels, size, size) to (N, 1280, 1, 1)."""
    layers, inside = _unit(spec, channels, 32, 3), 32
    for expansion, outside, blocks, stride in _STAGES:
        for block in range(blocks):
            layers += [Inverted(spec, inside, outside, expansion, stride if block == 0 else 1)]
            inside = outside
    return nn.Sequential(*layers, *_unit(spec, inside, 1280, 1), nn.AdaptiveAvgPool2d(1))


class Inverted(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1; with a shortcut where the stride is 1."""

    def __init__(self, spec, inside, outside, expansion, stride):
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

    def forward(self, x):
        y = self.branch(x)
        return y if self.shortcut is None else y + self.shortcut(x)


def _unit(spec, inside, outside, kernel, stride=1, groups=1):
    """Convolution, norm and ReLU as a list."""
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, norm(spec.norm, outside), nn.ReLU(inplace=True)]
