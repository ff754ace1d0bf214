"""Residual networks (He et al. 2016) in the variants that the papers use.

Stem, the layers before the first block: 3x3, stride 1, no pooling below 128 pixels; the original 7x7, stride 2 with 3x3
maximum pooling from there on; ``_P2`` the 3x3 stem padded by 2 at any size (KRR-ST's teachers and ResNet10). ``W32``
halves all widths. ``_AP`` uses average pooling in place of stride 2 and keeps the last maps whole (DC's condensing
network).

``_He`` draws the convolutions from N(0, 2 / fan_out), fan_out = outputs · kernel area (He et al., 2015), as torchvision does
and with it SRe2L, CDA, SC-DD and KRR-ST. Their 3x3 stem is put in afterwards and keeps PyTorch's default, as here; DC, DSA,
DM, MTT and APM have the default throughout. ResNet10, and ``_He0``, begin with silent branches: the scale of each block's
last norm is 0 (KRR-ST: its ResNet10 and the ResNet18 that teaches by knowledge distillation).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from distillation.networks.names import LARGE, Spec
from distillation.networks.norms import norm

_BLOCKS = {"ResNet10": (1, 1, 1, 1), "ResNet18": (2, 2, 2, 2), "ResNet50": (3, 4, 6, 3)}  # of each stage


def body(spec: Spec, channels: int, size: int) -> nn.Sequential:
    """Builds the layers before the classifier.

    Args:
        spec: of a ResNet: widths of the four stages, norm, stem, pooling, initial weights.
        channels: channels of the images.
        size: pixels of a side, which decides the stem.

    Returns:
        Layers that map (N, channels, size, size) to (N, F, 1, 1), averaged over pixels, or under ``_AP`` to the whole
        last maps (N, F, side, side). F is 8 (ResNet50: 32) times the stem's channels.
    """
    layers, inside = _stem(spec, channels, size), spec.widths[0]
    for stage, (width, blocks) in enumerate(zip(spec.widths, _BLOCKS[spec.family], strict=True)):
        for block in range(blocks):
            # the first block of each stage but the first halves the side
            residual = Residual(spec, inside, width, stride=2 if stage and not block else 1)
            layers += [residual]
            inside = residual.channels
    if not spec.pooling:
        layers += [nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers)


class HeConv2d(nn.Conv2d):
    """A convolution without bias whose weights begin from N(0, 2 / fan_out); ``build.initialise`` draws them."""


class Residual(nn.Module):
    """A block: the sum of a branch and a shortcut, then ReLU.

    The branch is two 3x3 convolutions, or in ResNet50 a bottleneck (1x1, 3x3, 1x1) whose output has 4 times ``width``
    channels. The shortcut is the identity, or a 1x1 convolution with norm where channels or side change.

    Args:
        spec: for norm, pooling and initial weights.
        inside: channels of the input.
        width: channels of the 3x3 convolutions.
        stride: 1, or 2 to halve the side; under ``_AP`` an average pooling does that.

    Attributes:
        channels: channels of the block's output.
        silent: whether the branch is 0 at the start, so that the block begins as its shortcut and ReLU.
    """

    def __init__(self, spec: Spec, inside: int, width: int, stride: int) -> None:
        super().__init__()
        bottleneck = spec.family == "ResNet50"
        self.channels = 4 * width if bottleneck else width
        self.silent = spec.family == "ResNet10" or spec.init == "_He0"
        # _AP: branch and shortcut both convolve at full size and are pooled afterwards
        step, pool = (1, [nn.AvgPool2d(2)]) if spec.pooling and stride == 2 else (stride, [])
        squeeze = [_conv(spec, inside, width, 1), norm(spec.norm, width), nn.ReLU(inplace=True)] if bottleneck else []
        self.branch = nn.Sequential(
            *squeeze,
            _conv(spec, width if bottleneck else inside, width, 3, step),
            norm(spec.norm, width),
            nn.ReLU(inplace=True),
            *pool,
            _conv(spec, width, self.channels, 1 if bottleneck else 3),
            norm(spec.norm, self.channels),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inside != self.channels:
            projection = _conv(spec, inside, self.channels, 1, step)
            self.shortcut = nn.Sequential(projection, *pool, norm(spec.norm, self.channels))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inside, H, W) to (N, channels, H / stride, W / stride)."""
        return F.relu(self.branch(x) + self.shortcut(x))

    def settle(self) -> None:
        """Completes the initialisation: if the block is ``silent``, sets the scale of the branch's last norm to 0.

        ``build.initialise`` calls it after all weights are drawn.
        """
        if self.silent:
            scale = self.branch[-1].weight
            assert isinstance(scale, Tensor)
            nn.init.zeros_(scale)


def _stem(spec: Spec, channels: int, size: int) -> list[nn.Module]:
    """Returns the layers before the first block, for images of ``size`` pixels a side."""
    width = spec.widths[0]
    if size >= LARGE and not spec.stem:
        first = _conv(spec, channels, width, 7, 2)
        return [first, norm(spec.norm, width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    # not by _conv: in the official code of SRe2L and the others this layer is put in after initialisation
    first = nn.Conv2d(channels, width, 3, padding=2 if spec.stem else 1, bias=False)
    return [first, norm(spec.norm, width), nn.ReLU(inplace=True)]


def _conv(spec: Spec, inside: int, outside: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Returns a convolution without bias; by its class ``build.initialise`` knows how to draw its weights."""
    kind = HeConv2d if spec.init else nn.Conv2d
    return kind(inside, outside, kernel, stride, kernel // 2, bias=False)
