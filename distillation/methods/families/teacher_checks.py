"""The check of teachers that a method uses on images as they are, without any conversion (APM, MTT)."""

from distillation.data.real import RealSet
from distillation.runtime.errors import BadInput
from distillation.teachers.pool import Pool


def require_same_inputs(method: str, pool: Pool, data: RealSet) -> None:
    """Checks that a pool was trained on images and classes like the dataset's, so that nothing has to be converted.

    Args:
        method: the method's name, for the message.
        pool: the pool of ``method.teacher``.
        data: the dataset that is distilled.

    Raises:
        BadInput: the pool has other classes or none, or its images have other channels, another size or another space.
    """
    name = f"method.teacher is {pool.info['pool']!r}, which"
    if pool.classes != data.classes:
        raise BadInput(f"{name} has no logits for the classes of the dataset, but {method} asks its teacher for them.")
    if pool.shape != data.shape or not pool.space.same(data.space):
        pool_images, images = (f"{each.space.kind} images of {each.shape[1]} px" for each in (pool, data))
        raise BadInput(
            f"{name} takes {pool_images}, but the dataset has {images}: {method} asks for teachers of the same size, "
            "channels and whitening or normalisation."
        )
