"""The statistics of a dataset's Space: mean and std of channels, or the matrices of ZCA (whitening)."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from distillation.data.indexed import IndexedImages
from distillation.data.spaces import Space
from distillation.runtime.errors import BadInput

CHUNK = 4096  # house: images counted at a time
LARGEST = 3 * 64 * 64  # house: numbers of an image: beyond, the two square matrices of ZCA take more than 1.2 GB
EPSILON = 0.1  # of kornia's ZCAWhitening in the code of APM and MTT


def statistics(images: Tensor | IndexedImages) -> tuple[list[float], list[float]]:
    """Computes mean and std of each channel of images.

    Args:
        images: (N, C, H, W) uint8.

    Returns:
        Two lists of C numbers, mean and std, for pixels in [0, 1].

    Raises:
        BadInput: as ``moments``.
    """
    channels = images.shape[1]
    # a histogram instead of floating-point sums: exact, and the dataset is never in memory as float32
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for chunk in images.split(CHUNK):
        for c in range(channels):
            counts[c] += torch.bincount(chunk[:, c].flatten(), minlength=256)
    return moments(counts)


def moments(counts: Tensor) -> tuple[list[float], list[float]]:
    """Computes mean and std of each channel from its histogram; the std is the population's (divided by the count).

    Histograms are integers, so the sums over images are exact: the result depends on no order and no batch size.

    Args:
        counts: (C, 256) int64, number of pixels with each value.

    Returns:
        Two lists of C numbers, mean and std, for pixels in [0, 1].

    Raises:
        BadInput: all pixels of a channel have one value.
    """
    counts, values = counts.double(), torch.arange(256, dtype=torch.float64) / 255
    frequencies = counts / counts.sum(1, keepdim=True)
    mean = frequencies @ values
    std = (frequencies * (values - mean[:, None]) ** 2).sum(1).sqrt()
    if (flat := torch.nonzero(std == 0)).numel():
        raise BadInput(f"channel {int(flat[0])} of the training images has one value only: it teaches nothing.")
    return mean.tolist(), std.tolist()


def whitening(images: Tensor) -> Space:
    """Fits ZCA whitening to training images, as the code of APM and MTT does.

    ZCA is the linear map that makes the numbers of an image uncorrelated over the dataset while it changes them least.
    As in that code, it takes pixels in [0, 1] without normalisation by channel, by kornia's ZCAWhitening with eps 0.1
    (added to the eigenvalues of the covariance) and the unbiased covariance. One thread fits, so that the bits do not
    depend on the number of cores.

    Args:
        images: (N, C, H, W) uint8.

    Returns:
        The whitened Space of images (C, H, W).

    Raises:
        BadInput: there are fewer than two images, or they are too large for a D x D matrix.
    """
    from kornia.enhance import ZCAWhitening  # slow to import

    size = images[0].numel()
    if size > LARGEST:
        raise BadInput(f"zca needs a {size:,} x {size:,} matrix here: set zca to false or pixels to 64 or less.")
    if len(images) < 2:
        raise BadInput("zca needs at least two training images.")
    with _one_thread():
        zca = ZCAWhitening(eps=EPSILON, unbiased=True, compute_inv=True).fit(images.flatten(1).float().div_(255))
    mean, matrix, inverse = zca.mean_vector.squeeze(0), zca.transform_matrix, zca.transform_inv
    return Space("whitened", {"mean": mean, "matrix": matrix.contiguous(), "inverse": inverse.contiguous()})


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Limits torch to one thread while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
