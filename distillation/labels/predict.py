"""The predictions of a pool of teachers on images."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from distillation.networks.chunks import in_chunks
from distillation.runtime.device import autocast
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from distillation.data.spaces import Space
    from distillation.teachers.pool import Member, Pool


M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def predictions(
    pool: "Pool", images: Tensor, space: "Space", pick: str, output: Callable[[Tensor], Tensor], chunk: int = 512
) -> Tensor:
    """Computes the predictions of a pool, in eval mode and float32.

    Args:
        pool: the teachers.
        images: (N, C, H, W) in ``space``.
        space: the Space of the images; they are mapped to that of the pool.
        pick: ``mean``: over all members of the pool; ``one``: the first alone.
        output: function of one member's logits (N, K), applied before the mean: the identity or a softmax.
        chunk: images that pass through a network together.

    Returns:
        What ``output`` returns, as its mean over the members.

    Raises:
        BadInput: the pool takes images of another shape.
    """
    images = _given(pool, images, space)
    networks = [pool.network(member) for member in picked(pool, pick)]
    parts = [output(in_chunks(network, images, chunk)) for network in networks]
    return cast("Tensor", sum(parts)) / len(parts)


@torch.no_grad()
def features(pool: "Pool", images: Tensor, space: "Space", chunk: int = 512) -> Tensor:
    """Computes the features (N, F) of images under the pool's first network; arguments are those of ``predictions``.

    Raises:
        BadInput: the images have another shape, or the network has no features.
    """
    if not pool.has_features(pool.members[0]):
        raise BadInput(f"relabel.teacher is {pool.info['pool']!r}, whose {pool.members[0].word} has no features.")
    network = pool.network(pool.members[0])
    return in_chunks(network.embed, _given(pool, images, space), chunk)


def picked(pool: "Pool", pick: str) -> "list[Member]":
    """Returns the members that label: all (``mean``), or the first (``one``)."""
    return pool.members if pick == "mean" else pool.members[:1]


def teacher_logits(
    pool: "Pool", space: "Space", pick: str, mode: str, precision: str = "fp32"
) -> Callable[[Tensor], Tensor]:
    """Builds the function by which teachers label the batches of a student, on the fly or to be stored.

    Args:
        pool: the teachers.
        space: the Space of the images; they are mapped to that of the pool.
        pick: ``mean``: logits averaged over all members; ``one``: those of the first.
        mode: which statistics batch norms use: ``eval``: the running ones; ``train``: those of the batch.
        precision: ``fp32`` or ``bf16``, of the forward passes.

    Returns:
        A function of images (n, C, S, S) that returns logits (n, K) float32, without gradients. In both modes it leaves
        the running statistics as they were.
    """
    networks = [pool.network(member) for member in picked(pool, pick)]
    if mode == "train":
        networks = [by_the_batch(network) for network in networks]

    @torch.no_grad()
    def logits_of(images: Tensor) -> Tensor:
        inputs = pool.take(images, space)
        with autocast(images.device, precision):
            logits = [network(inputs).float() for network in networks]
        return cast("Tensor", sum(logits)) / len(logits)

    return logits_of


def by_the_batch(network: M) -> M:
    """Returns a copy of a network whose batch norms use the statistics of each batch, and keep none of them."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # train() chooses the statistics of the batch; without tracking, torch leaves the running ones alone
            module.train().track_running_stats = False
    return network


def _given(pool: "Pool", images: Tensor, space: "Space") -> Tensor:
    """Maps images in ``space`` to the pool's inputs; raises BadInput if they have another shape."""
    if not pool.fits(images):
        raise BadInput(
            f"relabel.teacher is {pool.info['pool']!r}, which takes {pool.shape[0]} channels of {pool.shape[1]} px, but the "
            f"images have {images.shape[1]} of {images.shape[2]} px."
        )
    return pool.take(images, space)
