"""The space that networks are given a dataset in: normalised channels, or ZCA."""

import contextlib

import torch

from distillation.data.spaces import Space
from distillation.runtime.errors import BadInput

CHUNK = 4096
LARGEST = 3 * 64 * 64  # numbers of an image: beyond, the two square matrices of ZCA take more than 1.2 GB
EPSILON = 0.1


def statistics(images):
    """(mean, std) of each channel of uint8 images (N, C, H, W), as floats for pixels in [0, 1]; see ``moments``."""
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for chunk in images.split(CHUNK):
        for c in range(channels):
            counts[c] += torch.bincount(chunk[:, c].flatten(), minlength=256)
    return moments(counts)


def moments(counts):
    """(mean, std) of each channel from how often it has each value: counts (C, 256) int64.

    Counting values keeps the sums exact, so the result depends on no order; the std is the population's.

    Raises:
        BadInput: a channel holds one value only.
    """
    counts, values = counts.double(), torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    if (flat := torch.nonzero(std == 0)).numel():
        raise BadInput(f"channel {int(flat[0])} of the training images has one value only: it teaches nothing.")
    return mean.tolist(), std.tolist()


def whitening(images):
    """ZCA fitted on uint8 images (N, C, H, W): what APM and MTT call whitened data.

    As in their code: pixels in [0, 1] without channel normalisation, kornia's ZCAWhitening with eps 0.1 and the
    unbiased covariance. One thread fits, so that the bits do not depend on the number of cores.

    Raises:
        BadInput: fewer than two images, or images too large for a D x D matrix.
    """
    from kornia.enhance import ZCAWhitening  # slow to import

    size = images[0].numel()
    if size > LARGEST:
        raise BadInput(f"zca needs a {size:,} x {size:,} matrix here: set zca to false or the size to 64 or less.")
    if len(images) < 2:
        raise BadInput("zca needs at least two training images.")
    with _one_thread():
        zca = ZCAWhitening(eps=EPSILON, unbiased=True, compute_inv=True).fit(images.flatten(1).float().div_(255))
    mean, matrix, inverse = zca.mean_vector.squeeze(0), zca.transform_matrix, zca.transform_inv
    return Space("whitened", {"mean": mean, "matrix": matrix.contiguous(), "inverse": inverse.contiguous()})


@contextlib.contextmanager
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
