"""One DM step at CIFAR-10 size against the straightforward loop, side by side in one run.

    python -m benchmarks.dm_step --precision bf16 --compile --chunk 64 --steps 5

The yardstick is the published shape of the loop: class by class, eager, fp32, 256 real images, GroupNorm as instance
norm. Each line gives the median over the steps and the growth of memory during one. The machines are noisy: only
figures of one run compare.
"""

import argparse
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import common
from benchmarks.common import IPC, REAL, PlainConvNet
from benchmarks.measure import table
from distillation.augment.siamese import apply, draw
from distillation.augment.strategy import resolve
from distillation.methods.base import Problem
from distillation.methods.dm import DM, Settings
from distillation.runtime.random import generator

if TYPE_CHECKING:
    from benchmarks.measure import Step
    from distillation.data.real import RealSet


def product(args: argparse.Namespace, data: "RealSet", device: torch.device) -> "Step":
    """A function that does one step of the product."""
    problem = Problem(data, common.settings(args, "dm"), device, None)
    return common.unit_of(DM(problem, Settings(iterations=10**6, lr_img=1.0, momentum=0.5, batch_real=REAL)))


def straightforward(data: "RealSet", device: torch.device) -> "Step":
    """A function that does one step of the published loop: a new network, then real and synthetic images class by class."""
    images = common.first_images(data, IPC)
    optimizer = torch.optim.SGD([images], 1.0, 0.5)
    strategy, draws = resolve("auto", True), generator(0, "straightforward")

    def step() -> None:
        network = PlainConvNet().to(device).requires_grad_(False)
        loss: Any = 0.0  # a Tensor after the first class
        for c, members in enumerate(data.members):
            real = data.encode(data.train.images[members[torch.randperm(len(members), generator=draws)[:REAL]]])
            op, numbers = draw(strategy, 1, 1, draws)
            augmented = [
                apply(x, strategy, op.expand(len(x)), numbers[:, 0].expand(len(x), -1))
                for x in (real, images[c * IPC : (c + 1) * IPC])
            ]
            loss = loss + (network(augmented[0]).detach().mean(0) - network(augmented[1]).mean(0)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main(args: argparse.Namespace) -> None:
    """Prints the product beside the straightforward loop."""
    device = common.device_of(args)
    data = common.noise().to(device)
    contestants = {
        "straightforward fp32 eager": straightforward(data, device),
        common.label(args): product(args, data, device),
    }
    table(contestants, args.steps, device)


if __name__ == "__main__":
    main(common.parser(__doc__).parse_args())
