"""One step of many small students, in groups against one after the other, side by side in one run.

    python -m benchmarks.group_step                                        30 students of the default: 10 images of 8 pixels
    python -m benchmarks.group_step --word ConvNet --channels 3 --size 32 --ipc 10 --students 20 --steps 5

The yardstick is the product's own loop of a single network, called for each student in turn. ``--group`` is the setting
``compute.group``. Each line gives the median over the steps and the growth of memory during one. The machines are noisy:
only figures of one run compare.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks import common
from benchmarks.common import CLASSES, Hot
from benchmarks.measure import table
from distillation.networks.build import build
from distillation.runtime.random import generator
from distillation.training.group import Group, group_size
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import TrainSettings

if TYPE_CHECKING:
    from benchmarks.measure import Step

SIZES = {"quick": {}, "tiny": {"students": 3, "word": "ConvNetW4D1NN", "group": 2}}


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark; without arguments it is the default of params.yaml."""
    parser = common.parser(__doc__, chunk=None, steps=50)
    parser.add_argument("--word", default="ConvNetD2W64NN", help="network name")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--size", type=int, default=8, help="pixels of a side")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--group", type=lambda text: text if text == "auto" else int(text), default="auto")
    return parser


def student(args: argparse.Namespace, seed: int, device: torch.device) -> Training:
    """The Training of one student on images of its own."""
    shape = (CLASSES * args.ipc, args.channels, args.size, args.size)
    images = torch.randn(shape, generator=generator(seed, "images")).to(device)
    labels = torch.arange(CLASSES).repeat_interleave(args.ipc).to(device)
    settings = TrainSettings(
        epochs=10**6, batch=256, lr=0.01, momentum=0.9, weight_decay=0.0005, milestones=[0.5], decay=0.1, augment="dsa"
    )
    network = build(args.word, args.channels, args.size, CLASSES, generator(seed, "student")).to(device)
    batch_of = lambda index: (images[index], labels[index])  # noqa: E731
    name = (settings, seed, "student", args.channels == 3)
    return Training(network, batch_of, len(images), loss_of("ce"), *name, args.precision, args.compile)


def product(args: argparse.Namespace, device: torch.device) -> "Step":
    """A function that takes one step of all students, in groups of the product's size."""
    shape, batch = (args.channels, args.size, CLASSES), min(256, CLASSES * args.ipc)
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    if (size := group_size(args.group, args.word, shape, batch, kind)) == 1:
        return one_by_one(args, device)
    seeds = torch.arange(args.students).split(size)
    groups = [Group({seed % size: student(args, seed, device) for seed in part.tolist()}, size) for part in seeds]
    return lambda: [group.advance() for group in groups]


def one_by_one(args: argparse.Namespace, device: torch.device) -> "Step":
    """A function that takes one step of each student, one after the other."""
    students = [student(args, seed, device) for seed in range(args.students)]
    return lambda: [each.advance() for each in students]


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """The step of many students, by the contract of ``common.Hot``; it needs no folder."""
    eager = common.changed(args, precision="fp32", compile=False)
    name = "small students"
    return {name: Hot(plain=one_by_one(eager, device), ours=lambda own: product(own, device), network=False)}


def main(args: argparse.Namespace) -> None:
    """Prints the groups beside the students one by one."""
    device = common.device_of(args)
    contestants = {"one by one": one_by_one(args, device), f"groups ({args.group})": product(args, device)}
    table(contestants, args.steps, device)


if __name__ == "__main__":
    main(arguments().parse_args())
