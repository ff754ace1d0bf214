"""What a pool of teachers says of images."""

import torch

from stages.runtime.errors import BadInput


@torch.no_grad()
def predictions(pool, images, space, pick, output, chunk=512):
    """``output`` of the logits (N, K) for images (N, C, H, W) given in ``space``.

    The mean over the pool's members of ``output(logits)`` (``pick`` is ``mean``), or that of its first (``one``).

    Raises:
        BadInput: the pool was trained on images of another shape.
    """
    if (pool.shape[0], pool.shape[1]) != tuple(images.shape[1:3]):
        raise BadInput(
            f"relabel.teacher is {pool.info['pool']!r}, which takes {pool.shape[0]} channels of {pool.shape[1]} px, but the "
            f"images have {images.shape[1]} of {images.shape[2]} px."
        )
    if not pool.space.same(space):
        images = pool.space.encode(space.decode(images))
    members = pool.members if pick == "mean" else pool.members[:1]
    parts = [output(torch.cat([pool.network(m)(part) for part in images.split(chunk)])) for m in members]
    return sum(parts) / len(parts)
