"""A distilled set made elsewhere: images in [0, 1] (or 0 to 255) or in the dataset's normalised space, hard labels.

Formats: safetensors or npz with ``images`` (N, C, H, W) and ``labels`` (N,); a folder CLASS/*.png; the result files of
DC, DSA, DM and CLoM (.pt: a list under ``data`` of one pair of images and labels a run, of which the first is taken, as
CLoM's validation does; their images are normalised). Nothing that could run code is read.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file

from stages.containers.pickled import unpickled
from stages.datasets.archives import members
from stages.datasets.pictures import decode, stack
from stages.methods.shared.base import Method, Tick
from stages.params import Section
from stages.runtime.errors import BadInput


class Settings(Section):
    """``file`` is the path; ``space`` says what its numbers are: raw (uint8, or floats in [0, 1]) or normalised."""

    file: str = Field(min_length=1)
    space: Literal["raw", "normalised"]


class Imported(Method):
    def advance(self):
        self.at = 1
        return Tick(ready=False)

    def result(self):
        problem, path = self.problem, Path(self.settings.file)
        images, labels = _read(path, problem.data.classes, problem.data.shape[0])
        images, labels = images[order := labels.argsort(stable=True)], labels[order]
        _check(path, images, labels, problem)
        if self.settings.space == "raw":
            images = problem.data.encode(images) if images.dtype == torch.uint8 else problem.data.space.encode(images)
        return problem.hard_set(images.float().to(problem.device), labels.to(problem.device), file=path.name)


def _read(path, classes, channels):
    """Images (N, C, H, W) and labels (N,) of a file or folder."""
    if not path.exists() or path == Path("data/none"):
        raise BadInput(
            f"method.imported.file is {path}: give the path of a .safetensors, .npz or .pt file or a folder CLASS/*.png."
        )
    if path.is_dir():
        arrays = decode(members(path))
        names = [Path(name).parent.name for name in arrays]
        if unknown := set(names) - set(classes):
            raise BadInput(f"{path} has the class {min(unknown)!r}, but the dataset's are {', '.join(classes)}.")
        return stack(list(arrays.values()), channels), torch.tensor([classes.index(name) for name in names])
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                content = {name: torch.from_numpy(file[name]) for name in file.files}
        elif path.suffix == ".pt":
            content = _first_run(unpickled(path, "export images and labels as .safetensors"), path)
        else:
            raise BadInput(f"{path} is neither .safetensors nor .npz nor .pt nor a folder CLASS/*.png.")
    except (SafetensorError, ValueError, OSError) as error:
        raise BadInput(f"{path} does not read: {str(error).rstrip('.')}.") from error
    if not {"images", "labels"} <= content.keys():
        raise BadInput(f"{path} must hold 'images' and 'labels', but has {', '.join(content) or 'nothing'}.")
    return content["images"], content["labels"].long()


def _first_run(content, path):
    """Images and labels of the first run in a result file of DC's code."""
    runs = content.get("data") if isinstance(content, dict) else None
    pair = runs[0] if isinstance(runs, list) and runs else None
    if (
        not isinstance(pair, (list, tuple))
        or not all(isinstance(part, torch.Tensor) for part in pair)
        or len(pair) != 2
    ):
        raise BadInput(
            f"{path} is no result file of DC's code: it should hold under 'data' pairs of images and labels."
        )
    return {"images": pair[0], "labels": pair[1]}


def _check(path, images, labels, problem):
    wanted = problem.data.train.images.shape[1:]
    if images.shape[1:] != wanted or len(images) != len(labels):
        raise BadInput(
            f"{path} has images {tuple(images.shape)} with {len(labels)} labels; "
            f"(N, {', '.join(map(str, wanted))}) and N are wanted."
        )
    counts = torch.bincount(labels.clamp_min(0), minlength=problem.classes)
    ipc = problem.settings.ipc
    if len(counts) > problem.classes or labels.min() < 0 or (counts != ipc).any():
        raise BadInput(
            f"{path} must have method.ipc = {ipc} images of each of {problem.classes} classes; it has {counts.tolist()}."
        )
    if images.dtype.is_floating_point and not images.isfinite().all():
        raise BadInput(f"{path} has images with numbers that are not finite.")


METHOD = Imported
