"""Distances between the features (N, F) of real and of distilled images of a class, and among the latter."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distillation.networks.chunks import in_chunks

if TYPE_CHECKING:
    from distillation.networks.build import Network
    from distillation.teachers.foreign import Foreign


@torch.no_grad()
def features(network: "Network | Foreign", images: Tensor, chunk: int) -> Tensor:
    """Returns features (N, F) float64 of images.

    Args:
        network: has features (``embed``).
        images: (N, C, H, W), as the network takes them.
        chunk: images that pass through the network together.
    """
    return in_chunks(network.embed, images, chunk).double()


def mean_distance(real: Tensor, distilled: Tensor) -> float:
    """Returns || mean of real - mean of distilled ||², the loss of DM (WACV 2023, equation 6) without augmentation.

    Args:
        real: features (N, F) of real images of one class.
        distilled: features (M, F) of distilled images of that class.
    """
    return float((real.mean(0) - distilled.mean(0)).square().sum())


def kernel_distance(real: Tensor, distilled: Tensor) -> float:
    """Returns the squared maximum mean discrepancy with the kernel of KID (Bińkowski et al., ICLR 2018).

    It is mean k(real, real) + mean k(distilled, distilled) - 2 mean k(real, distilled) with k(x, y) = (x · y / F + 1)³.
    It compares the first three moments of the features, ``mean_distance`` the first.

    The means are over every pair, those of an image with itself included, so that one image is enough. KID leaves these
    out. The estimate is therefore biased: the fewer the images, the larger it is.

    Args:
        real: (N, F).
        distilled: (M, F).
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1).pow(3).mean()

    return float(kernel(real, real) + kernel(distilled, distilled) - 2 * kernel(real, distilled))


def spread(values: Tensor) -> float | None:
    """Returns the mean Euclidean distance between two different rows of ``values`` (N, F); None for a single row."""
    if len(values) < 2:
        return None
    return float(torch.pdist(values).mean())


def mean_of(values: Iterable[float | None]) -> float | None:
    """Returns the mean of the values that are not None; None if none is left."""
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None
