"""Normalisation layers by their token."""

from torch import nn


class InstanceNorm(nn.GroupNorm):
    """Instance norm as the matching papers have it: every channel of every image to mean 0 and variance 1, then a
    learnt scale and shift; eps 1e-5, no running statistics, the same in training and evaluation.

    It is a group norm of one channel a group: fused in one pass eagerly, and torch.compile takes it apart and fuses it
    with what surrounds it. Written out as mean, variance and scale it measures the same compiled and half as fast eager.
    """

    def __init__(self, channels):
        super().__init__(channels, channels)


def norm(token, channels, side=None):
    """The layer for ``token`` (IN, BN, LN, GN or NN) over (N, channels, side, side); only LN needs ``side``."""
    if token == "IN":
        return InstanceNorm(channels)
    if token == "BN":
        return nn.BatchNorm2d(channels)
    if token == "LN":
        return nn.LayerNorm((channels, side, side))
    if token == "GN":
        return nn.GroupNorm(4, channels)
    return nn.Identity()
