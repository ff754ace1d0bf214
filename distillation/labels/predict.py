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
    """Applies ``output`` to the logits (N, K) for images (N, C, H, W) in ``space``.

    The result is the mean over the pool's members (``pick`` is ``mean``), or that of its first (``one``).

    Raises:
        BadInput: the pool was trained on images of another shape.
    """
    images = _given(pool, images, space)
    networks = [pool.network(member) for member in picked(pool, pick)]
    parts = [output(in_chunks(network, images, chunk)) for network in networks]
    return cast("Tensor", sum(parts)) / len(parts)


@torch.no_grad()
def features(pool: "Pool", images: Tensor, space: "Space", chunk: int = 512) -> Tensor:
    """Returns features (N, F) of images under the pool's first network.

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
    """Returns a function of images (n, C, S, S) in ``space`` that computes the pool's logits (n, K), in float32.

    They are the mean over its networks, or those of its first, by ``pick``. In ``mode`` train, batch norms use the statistics
    of the batch, and leave alone those of their training.
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
    """Returns a copy of a network whose batch norms use the statistics of the batch, and keep none of them."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().track_running_stats = False  # what it saw in training stays as it was
    return network


def _given(pool: "Pool", images: Tensor, space: "Space") -> Tensor:
    """Maps images in ``space`` to the pool's inputs."""
    if not pool.fits(images):
        raise BadInput(
            f"relabel.teacher is {pool.info['pool']!r}, which takes {pool.shape[0]} channels of {pool.shape[1]} px, but the "
            f"images have {images.shape[1]} of {images.shape[2]} px."
        )
    return pool.take(images, space)
