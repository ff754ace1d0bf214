"""Two variants of AlexNet for small images (both as in DC, ICLR 2021).

AlexNet: five convolutions, three poolings, one linear layer. AlexCifarNet: two convolutions with local response norm, three
linear layers; the network of Dataset Distillation (Wang et al. 2018), a baseline of DC.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from distillation.networks.names import Spec, first_padding
from distillation.networks.norms import norm


def body(spec: Spec, channels: int, size: int) -> nn.Sequential:
    """Builds the layers of AlexNet before the classifier: (N, channels, size, size) to (N, 192, size / 8, size / 8).

    Each of the three poolings rounds down. MNIST's 28 pixels are padded to 32, see ``names.first_padding``.
    """

    def block(inside: int, outside: int, kernel: int, padding: int) -> list[nn.Module]:
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


def cifar_body(spec: Spec, channels: int, size: int) -> nn.Sequential:
    """Builds the layers of AlexCifarNet before the classifier: (N, channels, size, size) to (N, 192).

    The first two of its linear layers count to them. ``spec`` has no choices for this family.
    """
    side = -(-size // 4)  # two poolings, each rounding up
    return nn.Sequential(
        *(nn.Conv2d(channels, 64, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1), LocalResponseNorm()),
        *(nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(inplace=True), LocalResponseNorm(), nn.MaxPool2d(3, 2, 1)),
        *(nn.Flatten(), nn.Linear(64 * side**2, 384), nn.ReLU(inplace=True)),
        *(nn.Linear(384, 192), nn.ReLU(inplace=True)),
    )


class LocalResponseNorm(nn.Module):
    """Local response norm: x / (1 + alpha * mean of x² over 4 neighbouring channels)^0.75, alpha 0.001 / 9.

    The norm is that of Krizhevsky et al. (2012). The 4 channels are two before, the channel itself and one after it;
    those outside count as 0. PyTorch's own layer uses a 3D average pooling, which has no deterministic backward pass on
    CUDA.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises feature maps (N, C, H, W); the shape stays."""
        squares = F.pad(x.square(), (0, 0, 0, 0, 2, 1))
        mean = sum(squares[:, i : i + x.shape[1]] for i in range(4)) / 4
        return x / (1 + 0.001 / 9 * mean).pow(0.75)  # pyright: ignore[reportAttributeAccessIssue]  # a sum of tensors
