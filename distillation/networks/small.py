"""LeNet-5 (LeCun et al. 1998) with ReLU and maximum pooling, and a two-layer perceptron (both as in DC, ICLR 2021)."""

from torch import nn

from distillation.networks.names import Spec, first_padding


def lenet(spec: Spec, channels: int, size: int) -> nn.Sequential:
    """Builds the layers of LeNet before the classifier: (N, channels, size, size) to (N, 84)."""
    padding = first_padding(0, channels, size)
    # each 5x5 convolution without padding takes 4 pixels, each pooling halves the side
    side = ((size + 2 * padding - 4) // 2 - 4) // 2
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=padding), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * side**2, 120), nn.ReLU(inplace=True)),
        *(nn.Linear(120, 84), nn.ReLU(inplace=True)),
    )


def mlp(spec: Spec, channels: int, size: int) -> nn.Sequential:
    """Builds the layers of the perceptron before the classifier: (N, channels, size, size) to (N, 128).

    Its two hidden layers have 128 units each; ``spec`` has no choices for this family.
    """
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(channels * size**2, 128), nn.ReLU(inplace=True)),
        *(nn.Linear(128, 128), nn.ReLU(inplace=True)),
    )
