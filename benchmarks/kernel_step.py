"""One update of FRePo or KIP at CIFAR-10 size against the straightforward loop, side by side in one run.

    python -m benchmarks.kernel_step --method frepo --ipc 10 --precision bf16 --compile --chunk 64 --steps 3

The yardsticks are the published shapes of the loops, eager. FRePo: all 1,000 real images through the network at once,
the kernels and the solve in float32, then a step of the network. KIP: the kernels in float64 by autograd through the
whole formula, their diagonal too, and a general solve. Each line gives the median over the updates and the growth of
memory during one. The machines are noisy: only figures of one run compare.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import common
from benchmarks.common import CLASSES, IPC, Hot
from benchmarks.measure import table
from distillation import methods
from distillation.methods.base import Problem
from distillation.runtime.random import generator

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Step
    from distillation.data.real import RealSet

REAL, WIDTHS = 1000, (128, 256, 512)  # FRePo's network; its real batch, 1,024, as twice KIP's 500 a class
SETTINGS = {
    "frepo": {
        "iterations": 10**6, "optimizer": "lamb", "lr": 0.0003, "ridge": 1e-6, "mirror": False,
        "pool": 10, "pool_steps": 10**6, "pool_lr": 0.0003, "batch_syn": 500,
    },
    "kip": {"iterations": 10**6, "lr": 0.04, "depth": 1, "ridge": 1e-6, "labels": "fixed"},
}  # fmt: skip
SIZES = {"quick": {"real": 64}, "tiny": {"real": 4, "ipc": 1}}


def product(args: argparse.Namespace, data: "RealSet", device: torch.device) -> "Step":
    """A function that does one update of the product."""
    module = methods.load(args.method)
    real = args.real // (2 if args.method == "kip" else 1)
    settings = common.settings(args, args.method, ipc=args.ipc, network="ConvNetW128-256-512BN")
    return common.unit_of(
        module.METHOD(Problem(data, settings, device, None), module.Settings(**SETTINGS[args.method], batch_real=real))
    )


def initial(args: argparse.Namespace, data: "RealSet") -> "tuple[Tensor, Tensor]":
    """Images (N, 3, 32, 32) that need a gradient, and centred one-hot labels (N, 10)."""
    images = common.first_images(data, args.ipc)
    labels = torch.arange(CLASSES, device=images.device).repeat_interleave(args.ipc)
    return images, F.one_hot(labels, CLASSES).float() - 1 / CLASSES


def frepo(args: argparse.Namespace, data: "RealSet", device: torch.device) -> "Step":
    """A function that does one update of FRePo's published loop."""
    images, targets = initial(args, data)
    targets.requires_grad_()
    optimizer = torch.optim.Adam([images, targets], 0.0003)
    blocks = []
    for before, after in zip((3, *WIDTHS), WIDTHS, strict=False):
        blocks += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.AvgPool2d(2)]
    body = nn.Sequential(*blocks, nn.Flatten()).to(device)
    network = nn.Sequential(body, nn.Linear(WIDTHS[-1] * 16, CLASSES).to(device))
    learner, draws = torch.optim.Adam(network.parameters(), 0.0003), generator(0, "straightforward")

    def update() -> None:
        network.eval()
        index = torch.randperm(len(data.train), generator=draws)[: args.real].to(device)
        with torch.no_grad():
            real = body(data.encode(data.train.images[index]))
        real_targets = F.one_hot(data.train.labels[index], CLASSES).float() - 1 / CLASSES
        synthetic = body(images)
        kernel = synthetic @ synthetic.T
        kernel = kernel + 1e-6 * kernel.trace() / len(kernel) * torch.eye(len(kernel), device=device)
        predictions = real @ synthetic.T @ torch.linalg.solve(kernel, targets)
        top = targets.topk(2, dim=1).values
        margin = (top[:, 0] - top[:, 1]).clamp_max(1 / CLASSES).mean()
        optimizer.zero_grad()
        ((predictions - real_targets).square().sum(1).mean() / 2 - margin).backward()
        optimizer.step()
        loss = F.mse_loss(network.train()(images.detach()), targets.detach())
        learner.zero_grad()
        loss.backward()
        learner.step()

    return update


def plain_kernel(x: "Tensor", z: "Tensor") -> "Tensor":
    """The kernel (N, M) of one hidden layer for x (N, ...) and z (M, ...), by one formula on the diagonal and off it."""
    x, z = x.flatten(1), z.flatten(1)
    covariance = 2 / x.shape[1] * x @ z.T + 0.01
    norms = torch.sqrt((2 / x.shape[1] * (x * x).sum(1) + 0.01)[:, None] * (2 / x.shape[1] * (z * z).sum(1) + 0.01))
    angle = torch.acos((covariance / norms).clamp(-1 + 1e-7, 1 - 1e-7))
    rectified = norms / (2 * math.pi) * (torch.sin(angle) + (math.pi - angle) * torch.cos(angle))
    return 2 * rectified + 0.01 + 2 * covariance * (math.pi - angle) / (2 * math.pi)


def kip(args: argparse.Namespace, data: "RealSet", device: torch.device) -> "Step":
    """A function that does one update of KIP's published loop."""
    images, targets = initial(args, data)
    optimizer, draws = torch.optim.Adam([images], 0.04), generator(0, "straightforward")
    targets = targets.double()

    def update() -> None:
        index = torch.cat([m[torch.randperm(len(m), generator=draws)[: args.real // 2]] for m in data.members]).to(
            device
        )
        real = data.encode(data.train.images[index]).double()
        real_targets = F.one_hot(data.train.labels[index], CLASSES).double() - 1 / CLASSES
        doubles = images.double()
        kernel = plain_kernel(doubles, doubles)
        kernel = kernel + 1e-6 * kernel.trace() / len(kernel) * torch.eye(len(kernel), device=device).double()
        predictions = plain_kernel(real, doubles) @ torch.linalg.solve(kernel, targets)
        optimizer.zero_grad()
        ((predictions - real_targets).square().mean() / 2).backward()
        optimizer.step()

    return update


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__, steps=3)
    parser.add_argument("--method", default="frepo", choices=["frepo", "kip"])
    parser.add_argument("--ipc", type=int, default=IPC)
    parser.add_argument(
        "--real", type=int, default=REAL, help="real images of a step of FRePo; KIP takes half as many a class"
    )
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """An update of FRePo and one of KIP, by the contract of ``common.Hot``; they need no folder."""
    data = common.noise(CLASSES * args.real // 2).to(device)
    loops = {"frepo": frepo, "kip": kip}
    return {
        method: Hot(
            plain=loop(args, data, device),
            ours=lambda own, m=method: product(common.changed(own, method=m), data, device),
            network=method == "frepo",
        )
        for method, loop in loops.items()
    }


def main(args: argparse.Namespace) -> None:
    """Prints the product beside the straightforward loop."""
    device = common.device_of(args)
    data = common.noise().to(device)
    contestants = {"straightforward eager": {"frepo": frepo, "kip": kip}[args.method](args, data, device)}
    contestants[common.label(args)] = product(args, data, device)
    print(f"{args.method}, IPC {args.ipc}:")
    table(contestants, args.steps, device)


if __name__ == "__main__":
    main(arguments().parse_args())
