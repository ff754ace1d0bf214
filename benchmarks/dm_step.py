"""One DM step at CIFAR-10 size against the straightforward loop, side by side in one run.

    python -m benchmarks.dm_step --precision bf16 --compile --chunk 64 --steps 5

The yardstick is the published shape of the loop: class by class, eager, fp32, 256 real images, GroupNorm as instance
norm. Each line gives the median over the steps and the growth of memory during one. The machines are noisy: only
figures of one run compare.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import common
from benchmarks.common import CLASSES, IPC, REAL, Hot, PlainConvNet
from benchmarks.measure import table
from distillation.augment.siamese import apply, draw
from distillation.augment.strategy import resolve
from distillation.methods.base import Problem
from distillation.methods.dm import DM, Settings
from distillation.runtime.random import generator

if TYPE_CHECKING:
    from benchmarks.measure import Step
    from distillation.data.real import RealSet
SIZES = {"quick": {"width": 32, "real": 64, "chunk": 64}, "tiny": {"width": 4, "real": 4, "ipc": 1}}


def product(args: argparse.Namespace, data: "RealSet", device: torch.device) -> "Step":
    """A function that does one step of the product."""
    problem = Problem(data, common.settings(args, "dm", ipc=args.ipc), device, None)
    return common.unit_of(DM(problem, Settings(iterations=10**6, lr_img=1.0, momentum=0.5, batch_real=args.real)))


def straightforward(args: argparse.Namespace, data: "RealSet", device: torch.device) -> "Step":
    """A function that does one step of the published loop: a new network, then real and synthetic images class by class."""
    images = common.first_images(data, args.ipc)
    optimizer = torch.optim.SGD([images], 1.0, 0.5)
    strategy, draws = resolve("auto", True), generator(0, "straightforward")

    def step() -> None:
        network = PlainConvNet(args.width).to(device).requires_grad_(False)
        loss: Any = 0.0  # a Tensor after the first class
        for c, members in enumerate(data.members):
            real = data.encode(data.train.images[members[torch.randperm(len(members), generator=draws)[: args.real]]])
            op, numbers = draw(strategy, 1, 1, draws)
            augmented = [
                apply(x, strategy, op.expand(len(x)), numbers[:, 0].expand(len(x), -1))
                for x in (real, images[c * args.ipc : (c + 1) * args.ipc])
            ]
            loss = loss + (network(augmented[0]).detach().mean(0) - network(augmented[1]).mean(0)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__)
    parser.add_argument("--ipc", type=int, default=IPC)
    parser.add_argument("--real", type=int, default=REAL, help="real images of a class")
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """DM's step, by the contract of ``common.Hot``; it needs no folder."""
    data = common.noise(CLASSES * 2 * args.real).to(device)
    return {"dm": Hot(plain=straightforward(args, data, device), ours=lambda own: product(own, data, device))}


def main(args: argparse.Namespace) -> None:
    """Prints the product beside the straightforward loop."""
    device = common.device_of(args)
    data = common.noise().to(device)
    contestants = {
        "straightforward fp32 eager": straightforward(args, data, device),
        common.label(args): product(args, data, device),
    }
    table(contestants, args.steps, device)


if __name__ == "__main__":
    main(arguments().parse_args())
