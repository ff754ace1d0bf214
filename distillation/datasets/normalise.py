"""The space of a dataset's network inputs: normalised channels, or ZCA."""

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
    """Computes (mean, std) of each channel of uint8 images (N, C, H, W), as floats for pixels in [0, 1].

    Raises:
        BadInput: as ``moments``.
    """
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for chunk in images.split(CHUNK):
        for c in range(channels):
            counts[c] += torch.bincount(chunk[:, c].flatten(), minlength=256)
    return moments(counts)


def moments(counts: Tensor) -> tuple[list[float], list[float]]:
    """Computes (mean, std) of each channel from its histogram, for pixels in [0, 1]; the std is the population's.

    Sums of counts are exact, so the result depends on no order.

    Args:
        counts: (C, 256) int64, number of pixels with each value.

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
    """Fits ZCA to uint8 images (N, C, H, W), the whitened data of APM and MTT.

    As in their code: pixels in [0, 1] without channel normalisation, kornia's ZCAWhitening with eps 0.1 and the
    unbiased covariance. One thread fits, so that the bits do not depend on the number of cores.

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
