"""One step of a student of an evaluation at CIFAR-10 size against the straightforward loop, side by side in one run.

    python -m benchmarks.student_step --precision bf16 --compile --ipc 10 --steps 5

The yardstick is the published shape of the loop: eager, fp32, GroupNorm as instance norm, siamese augmentation, SGD with
momentum. Each line gives the median over the steps and the growth of memory during one. The machines are noisy: only
figures of one run compare.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from benchmarks import common
from benchmarks.common import CLASSES, IPC, Hot, PlainClassifier
from benchmarks.measure import table
from distillation.augment.siamese import augment_batch
from distillation.augment.strategy import resolve
from distillation.networks.build import build
from distillation.runtime.random import generator
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import TrainSettings

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Step

BATCH = 256  # DSA's evaluation
SIZES = {"quick": {"width": 32}, "tiny": {"width": 4, "ipc": 1}}


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__, chunk=None)
    parser.add_argument("--ipc", type=int, default=IPC)
    return parser


def images_of(args: argparse.Namespace, device: torch.device) -> "tuple[Tensor, Tensor]":
    """Images (N, 3, 32, 32) and labels (N,) of a distilled set."""
    images = torch.randn(CLASSES * args.ipc, 3, 32, 32, generator=generator(0, "images"))
    return images.to(device), torch.arange(CLASSES).repeat_interleave(args.ipc).to(device)


def product(args: argparse.Namespace, device: torch.device) -> "Step":
    """A function that does one step of the product."""
    images, labels = images_of(args, device)
    settings = TrainSettings(
        epochs=10**6,
        batch=BATCH,
        lr=0.01,
        momentum=0.9,
        weight_decay=0.0005,
        milestones=[0.5],
        decay=0.1,
        augment="dsa",
    )
    network = build(common.network(args), 3, 32, CLASSES, generator(0, "student")).to(device)
    batch_of = lambda index: (images[index], labels[index])  # noqa: E731
    training = Training(
        network, batch_of, len(images), loss_of("ce"), settings, 0, "student", True, args.precision, args.compile
    )
    return training.advance


def straightforward(args: argparse.Namespace, device: torch.device) -> "Step":
    """A function that does one step of the published loop."""
    images, labels = images_of(args, device)
    network = PlainClassifier(args.width).to(device)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=0.0005)
    strategy, draws = resolve("auto", True), generator(0, "straightforward")

    def step() -> None:
        index = torch.randperm(len(images), generator=draws)[:BATCH].to(device)
        loss = F.cross_entropy(network(augment_batch(images[index], strategy, draws)), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """The step of one student, by the contract of ``common.Hot``; it needs no folder.

    A step of a group of students is one more entry, ``student groups``: its yardstick is that of one, called for each.
    """
    return {"student": Hot(plain=straightforward(args, device), ours=lambda own: product(own, device))}


def main(args: argparse.Namespace) -> None:
    """Prints the product beside the straightforward loop."""
    device = common.device_of(args)
    contestants = {
        "straightforward fp32 eager": straightforward(args, device),
        common.label(args): product(args, device),
    }
    table(contestants, args.steps, device)


if __name__ == "__main__":
    main(arguments().parse_args())
