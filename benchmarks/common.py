"""Shared parts of benchmarks: arguments, data, pools and settings, and the plain network of the yardsticks."""

import argparse
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from distillation.data.real import RealSet, Split
from distillation.data.spaces import Space
from distillation.methods.base import Common
from distillation.methods.driver import updates
from distillation.networks.build import build
from distillation.runtime import device, tensors
from distillation.runtime.random import generator
from distillation.teachers.pool import FILE, Pool

if TYPE_CHECKING:
    from benchmarks.measure import Step
    from distillation.methods.base import Method
    from distillation.methods.driver import Unit

CLASSES, REAL, IPC = 10, 256, 10  # CIFAR-10; DC's real batch of a class; images of a class in the published tables
WIDTH = 128  # channels of the published ConvNet


@dataclass(frozen=True, kw_only=True)
class Hot:
    """The contestants of a hot step.

    A benchmark has ``arguments()``, its parser, whose defaults are the published sizes; ``SIZES``, other sizes by scale;
    and ``steps(args, device, folder)``, its hot steps by name. ``folder`` is empty, and for its files.

    Attributes:
        plain: the straightforward loop, fp32 and eager.
        ours: function of arguments, of which ``precision`` and ``compile`` may differ from those of ``steps``, that
            returns the product.
        network: whether precision and compiling concern the step; False: it runs no network through autocast.
    """

    plain: "Step"
    ours: "Callable[[argparse.Namespace], Step]"
    network: bool = True


def changed(args: argparse.Namespace, **values: Any) -> argparse.Namespace:
    """A copy of arguments with other values."""
    copied = copy.copy(args)
    vars(copied).update(values)
    return copied


def parser(doc: str | None, chunk: int | None = 64, steps: int = 5) -> argparse.ArgumentParser:
    """Parser of the arguments of every benchmark of a step, to which each adds its own; ``chunk`` None: no such argument."""
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    arguments.add_argument("--compile", action="store_true")
    if chunk:
        arguments.add_argument("--chunk", type=int, default=chunk)
    arguments.add_argument("--steps", type=int, default=steps, help="steps that are timed")
    arguments.add_argument("--width", type=int, default=WIDTH, help="channels of a ConvNet")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--device", default="cpu")
    return arguments


def device_of(args: argparse.Namespace) -> torch.device:
    """The device of a benchmark, with threads and precision set up."""
    device.prepare(args.threads)
    return torch.device(args.device)


def label(args: argparse.Namespace) -> str:
    """The settings of the product, for its line of the output."""
    chunk = f" chunk {args.chunk}" if "chunk" in args else ""
    return f"ours {args.precision}{' compiled' if args.compile else ' eager'}{chunk}"


def network(args: argparse.Namespace) -> str:
    """The word of the ConvNet of ``--width`` channels."""
    return f"ConvNetW{args.width}"


def settings(args: argparse.Namespace, name: str, guidance: Mapping[str, Any] | None = None, **changed: Any) -> Common:
    """The Common settings of the method ``name``.

    Args:
        args: arguments of the benchmark.
        name: the method.
        guidance: values that differ from the defaults of guidance.
        changed: values that differ from the other defaults.
    """
    values = {
        "name": name, "ipc": IPC, "seed": 0, "network": network(args), "init": "real", "augment": "auto", "alpha": 0.0,
        "teacher": "main", "precision": args.precision, "compile": args.compile, "chunk": args.chunk,
    }  # fmt: skip
    defaults = {"teacher": "main", "epoch": "any", "distance": "ce", "batch": 1, "adapt": False, "scale": "absolute"}
    return Common(**{**values, "guidance": {**defaults, **(guidance or {})}, **changed})


def noise(count: int = 5000, classes: int = CLASSES, size: int = 32) -> RealSet:
    """A RealSet of random images in the space of CIFAR-10."""
    shape = (count, 3, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "images"))
    split = Split(images, torch.arange(count) % classes)
    names = [str(c) for c in range(classes)]
    space = Space.normalised([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
    return RealSet(split, split, space, {"name": "noise", "classes": names, "channels": 3, "size": size, "flip": True})


def pixels(data: RealSet) -> torch.Tensor:
    """The training images (N, C, S, S) uint8 of a set in memory."""
    assert isinstance(data.train.images, torch.Tensor)
    return data.train.images


def first_images(data: RealSet, ipc: int) -> torch.Tensor:
    """The first images of each class with a gradient, as the yardsticks' start."""
    return data.encode(torch.cat([pixels(data)[m[:ipc]] for m in data.members])).requires_grad_()


def pool_in(
    folder: str | Path,
    data: RealSet,
    where: torch.device,
    network: str = "ConvNet",
    weights: Mapping[str, torch.Tensor] | None = None,
    **info: Any,
) -> Pool:
    """Writes a pool of one network into ``folder`` and loads it.

    Args:
        folder: an empty folder.
        data: the set that names the classes, the shape and the space.
        where: the device.
        network: name of the network.
        weights: its weights by the ends of their names; None for random ones.
        info: further entries of the record.
    """
    if weights is None:
        state = build(network, *data.shape, generator(0, "teacher")).state_dict()
        weights = {f"last/{name}": value for name, value in state.items()}
    entry = {"network": network, "index": 0, "kept": [{"name": "last", "epoch": 1, "accuracy": 10.0}]}
    record = {"pool": "main", "classes": data.classes, "shape": list(data.shape), "space": data.space.kind}
    content = {f"{network}/0/{name}": value for name, value in weights.items()}
    tensors.save(Path(folder) / FILE, {**content, **data.space.packed()}, {**record, "networks": [entry], **info})
    return Pool(folder, where)


def unit_of(method: "Method") -> "Callable[[], Unit]":
    """A function that does the next unit of work of a method at every call: an update, for most methods."""
    return partial(next, updates(method))


class PlainConvNet(nn.Module):
    """ConvNet-D3 with instance norm, from torch's own modules: features (N, 16 x width)."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        blocks = []
        for channels in (3, width, width):
            blocks += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(width, width), nn.ReLU(), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*blocks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features (N, 16 x width) of images (N, 3, 32, 32)."""
        return self.features(images).flatten(1)


class PlainClassifier(PlainConvNet):
    """The same with its classifier: logits (N, 10)."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__(width)
        self.classifier = nn.Linear(16 * width, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10) of images (N, 3, 32, 32)."""
        return self.classifier(super().forward(images))
