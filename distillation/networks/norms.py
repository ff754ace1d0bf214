"""Normalisation layers by their tokens in network names, such as ``BN``."""

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that works on a single value a channel too: a batch of one image whose map is one pixel.

    Such a value has no variance, and PyTorch refuses it in training, wherever a batch, chunk or class happens to be left with
    one image. The rule, the same in every loop: it is normalised by the running statistics, as in evaluation, which stay as
    they are.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalises maps (N, channels, H, W), by batch statistics in train mode, by the running ones in eval mode."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


class InstanceNorm(nn.GroupNorm):
    """Instance norm of the matching papers: each channel of each image to mean 0 and variance 1, then scaled and shifted.

    Scale and shift are learnt; eps is 1e-5; there are no running statistics, so training and evaluation are the same.

    A group norm with one channel a group runs in one fused pass eagerly, and torch.compile fuses it with its neighbours.
    Mean, variance and scale as separate operations are as fast compiled and half as fast eager.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)


def norm(token: str, channels: int, side: int | None = None) -> nn.Module:
    """Builds the normalisation of maps (N, channels, side, side).

    Args:
        token: ``IN`` instance norm, ``BN`` batch norm, ``LN`` layer norm, ``GN`` group norm (4 groups, as in DC's
            networks) or ``NN`` none, which is the identity.
        channels: channels of the maps; for ``GN`` a multiple of 4.
        side: pixels of a side, which only ``LN`` needs: each of its weights belongs to one channel and pixel.
    """
    if token == "IN":
        return InstanceNorm(channels)
    if token == "BN":
        return BatchNorm(channels)
    if token == "LN":
        assert side is not None
        return nn.LayerNorm([channels, side, side])
    if token == "GN":
        return nn.GroupNorm(4, channels)
    return nn.Identity()
