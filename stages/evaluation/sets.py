"""The sets of images that students are trained on, as (batch_of, count) for ``training.loop.Training``."""

import torch

from stages.containers.distilled import DistilledSet
from stages.runtime.errors import BadInput
from stages.runtime.generators import generator
from stages.selection import k_means


def images_of(source, data, kind):
    """``batch_of(indices)`` giving images and targets on the data's device, and how many images there are.

    ``source`` is ``("file", path)`` of a DistilledSet, or, from the real training images, ``("random", ipc, draw)``,
    ``("kmeans", ipc)`` (the real images nearest to the centroids of pixels), ``("mean",)`` (one mean image a class) or
    ``("whole",)``. ``kind`` is how labels are used: hard, soft or logits.

    Raises:
        BadInput: a class has fewer images than asked for.
    """
    name, *rest = source
    if name == "whole":
        split = data.train
        return lambda index: (data.encode(split.images[index]), split.labels[index]), len(split)
    images, targets = _from_file(data, kind, *rest) if name == "file" else _SETS[name](data, *rest)
    return lambda index: (images[index], targets[index]), len(images)


def _from_file(data, kind, path):
    made = DistilledSet.load(path, data.train.labels.device)
    if kind != "hard":
        return made.images, made.targets
    return made.images, made.labels if made.targets is None else made.targets.argmax(1)


def _random(data, ipc, draw):
    draws = generator(draw, "random baseline")
    return _real(data, [members[torch.randperm(len(members), generator=draws)[:ipc]] for members in _enough(data, ipc)])


def _kmeans(data, ipc):
    chosen = []
    for members in _enough(data, ipc):
        pixels = data.encode(data.train.images[members]).flatten(1)
        chosen.append(members[k_means(pixels, ipc, seed=0)])
    return _real(data, chosen)


def _mean(data):
    images = [data.encode(data.train.images[members]).mean(0) for members in data.members]
    return torch.stack(images), torch.arange(len(images), device=data.train.labels.device)


def _real(data, chosen):
    index = torch.cat(chosen).to(data.train.labels.device)
    return data.encode(data.train.images[index]), data.train.labels[index]


def _enough(data, ipc):
    smallest = min(map(len, data.members))
    if ipc > smallest:
        raise BadInput(f"method.ipc is {ipc}, but the smallest class has {smallest} images.")
    return data.members


_SETS = {"random": _random, "kmeans": _kmeans, "mean": _mean}
