"""Residual networks (He et al. 2016) in the variants that the papers use.

Stem: 3x3, stride 1, no pooling below 128 pixels; the original 7x7, stride 2 with 3x3 maximum pooling from there on;
``_P2`` the 3x3 stem padded by 2 at any size (KRR-ST's teachers and ResNet10). ``W32`` halves all widths. ``_AP`` puts
average pooling where the others stride by 2 and keeps the last maps whole (DC's condensing network). ResNet10 begins
with silent branches: the scale of each block's last norm is 0 (KRR-ST).
"""

from torch import nn
from torch.nn import functional as F

from distillation.networks.names import LARGE
from distillation.networks.norms import norm

_BLOCKS = {"ResNet10": (1, 1, 1, 1), "ResNet18": (2, 2, 2, 2), "ResNet50": (3, 4, 6, 3)}


def body(spec, channels, size):
    """Everything before the classifier: features of 8 (ResNet50: 32) times the stem's channels, averaged but for ``_AP``."""
    layers, inside = _stem(spec, channels, size), spec.widths[0]
    for stage, (width, blocks) in enumerate(zip(spec.widths, _BLOCKS[spec.family], strict=True)):
        for block in range(blocks):
            layers += [Residual(spec, inside, width, stride=2 if stage and not block else 1)]
            inside = layers[-1].channels
    if not spec.pooling:
        layers += [nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """A block: its branch added to its shortcut, then ReLU. Bottleneck branches (1x1, 3x3, 1x1) in ResNet50."""

    def __init__(self, spec, inside, width, stride):
        super().__init__()
        bottleneck = spec.family == "ResNet50"
        self.channels = 4 * width if bottleneck else width
        self.silent = spec.family == "ResNet10"
        step, pool = (1, [nn.AvgPool2d(2)]) if spec.pooling and stride == 2 else (stride, [])
        squeeze = [_conv(inside, width, 1), norm(spec.norm, width), nn.ReLU(inplace=True)] if bottleneck else []
        self.branch = nn.Sequential(
            *squeeze,
            _conv(width if bottleneck else inside, width, 3, step),
            norm(spec.norm, width),
            nn.ReLU(inplace=True),
            *pool,
            _conv(width, self.channels, 1 if bottleneck else 3),
            norm(spec.norm, self.channels),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inside != self.channels:
            self.shortcut = nn.Sequential(_conv(inside, self.channels, 1, step), *pool, norm(spec.norm, self.channels))

    def forward(self, x):
        return F.relu(self.branch(x) + self.shortcut(x))

    def settle(self):
        """What this block starts from beyond the default initialisation."""
        if self.silent:
            nn.init.zeros_(self.branch[-1].weight)


def _stem(spec, channels, size):
    width = spec.widths[0]
    if size >= LARGE and not spec.stem:
        first = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        return [first, norm(spec.norm, width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    first = nn.Conv2d(channels, width, 3, padding=2 if spec.stem else 1, bias=False)
    return [first, norm(spec.norm, width), nn.ReLU(inplace=True)]


def _conv(inside, outside, kernel, stride=1):
    return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
