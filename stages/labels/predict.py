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
    images = _given(pool, images, space)
    members = pool.members if pick == "mean" else pool.members[:1]
    parts = [output(torch.cat([pool.network(m)(part) for part in images.split(chunk)])) for m in members]
    return sum(parts) / len(parts)


@torch.no_grad()
def features(pool, images, space, chunk=512):
    """Features (N, F) of images under the pool's first network. Raises BadInput as above, or where it has none."""
    if not pool.has_features(pool.members[0]):
        raise BadInput(f"relabel.teacher is {pool.info['pool']!r}, whose {pool.members[0].word} has no features.")
    network = pool.network(pool.members[0])
    return torch.cat([network.embed(part) for part in _given(pool, images, space).split(chunk)])


def _given(pool, images, space):
    """Images in ``space`` as the pool takes them."""
    if (pool.shape[0], pool.shape[1]) != tuple(images.shape[1:3]):
        raise BadInput(
            f"relabel.teacher is {pool.info['pool']!r}, which takes {pool.shape[0]} channels of {pool.shape[1]} px, but the "
            f"images have {images.shape[1]} of {images.shape[2]} px."
        )
    return images if pool.space.same(space) else pool.space.encode(space.decode(images))
