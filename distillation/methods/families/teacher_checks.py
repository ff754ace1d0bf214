"""What a method asks of its teachers before it takes their word."""

from distillation.runtime.errors import BadInput


def as_they_are(method, pool, data):
    """Raise BadInput where the ``pool``'s logits for the images of ``data`` as they are would mean nothing."""
    name = f"method.teacher is {pool.info['pool']!r}, which"
    if pool.classes != data.classes:
        raise BadInput(f"{name} has no logits for the classes of the dataset, but {method} asks its teacher for them.")
    if pool.shape != data.shape or not pool.space.same(data.space):
        theirs, ours = (f"{each.space.kind} images of {each.shape[1]} px" for each in (pool, data))
        raise BadInput(
            f"{name} takes {theirs}, but the dataset has {ours}: {method} asks for teachers of the same size, channels and "
            "whitening or normalisation."
        )
