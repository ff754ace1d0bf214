"""The sets of images that students are trained on, as (batch_of, count) for ``training.loop.Training``."""

import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from threadpoolctl import threadpool_limits

from distillation.data.distilled import DistilledSet
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.training.selection import k_means


def images_of(source, data, kind):
    """``batch_of(indices)`` giving images and targets on the data's device, and how many images there are.

    ``source`` is ``("file", path)`` of a DistilledSet, or, from the real training images, ``("chosen", indices)``,
    ``("mean",)`` (one mean image a class) or ``("whole",)``. ``kind`` is how labels are used: hard, or any other as they are.
    """
    name, *rest = source
    if name == "whole":
        split = data.train
        return lambda index: (data.encode(split.images[index]), split.labels[index.to(split.labels.device)]), len(split)
    images, targets = _from_file(data, kind, *rest) if name == "file" else _SETS[name](data, *rest)
    return lambda index: (images[index], targets[index]), len(images)


def random_choice(data, ipc, draw):
    """Indices of ``ipc`` random training images of each class. Raises BadInput where a class has fewer."""
    draws = generator(draw, "random baseline")
    return _joined(members[torch.randperm(len(members), generator=draws)[:ipc]] for members in _enough(data, ipc))


def k_means_choice(data, ipc):
    """Indices of the images of each class nearest to the centroids of its pixels. Raises BadInput as above.

    One thread clusters one class, as many side by side as torch has threads: how many changes nothing.
    """
    import sklearn.cluster  # noqa: F401 (slow; here, since a limit holds for the libraries that are loaded)

    def chosen(members):
        pixels = data.encode(data.train.images[members.to(data.train.labels.device)])
        return members[k_means(pixels.flatten(1), ipc, seed=0)]

    # Each call limits BLAS to a thread of its own and at its end sets back what it found, so the limit is here already.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool, threadpool_limits(1):
        return _joined(pool.map(chosen, _enough(data, ipc)))


def affords_all_pixels(data):
    """Whether there are to be sets that look at all pixels, k-means and class means; says so where images stay in files."""
    if not data.in_memory:
        print("note: the images are decoded when they are wanted: no k-means and no class means.", file=sys.stderr)
    return data.in_memory


def _from_file(data, kind, path):
    made = DistilledSet.load(path, data.train.labels.device)
    if kind != "hard":
        return made.images, made.targets
    return made.images, made.labels if made.targets is None else made.targets.argmax(1)


def _chosen(data, indices):
    index = torch.tensor(indices, device=data.train.labels.device)
    return data.encode(data.train.images[index]), data.train.labels[index]


def _mean(data):
    device = data.train.labels.device
    images = [data.encode(data.train.images[members.to(device)]).mean(0) for members in data.members]
    return torch.stack(images), torch.arange(len(images), device=device)


def _joined(chosen):
    return tuple(torch.cat(list(chosen)).tolist())


def _enough(data, ipc):
    smallest = min(map(len, data.members))
    if ipc > smallest:
        raise BadInput(f"method.ipc is {ipc}, but the smallest class has {smallest} images.")
    return data.members


_SETS = {"chosen": _chosen, "mean": _mean}
