"""One recovery update of SRe2L and SC-DD at CIFAR-100 size against the straightforward loop, side by side in one run.

    python -m benchmarks.recover_step --precision bf16 --compile --network ResNet18BN --batch 100 --steps 5

The yardstick is the published shape of the loop: forward hooks on every batch norm, eager, fp32. Each line gives the
median over the steps and the growth of memory during one. The machines are noisy: only figures of one run compare.
"""

import argparse
import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from benchmarks import common
from benchmarks.common import Hot
from benchmarks.measure import table
from distillation.methods.base import Problem
from distillation.methods.families.recover import Recover, RecoverSettings

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Step
    from distillation.data.real import RealSet
    from distillation.teachers.pool import Pool

SETTINGS = {
    "first": 0, "iterations": 10**6, "lr": 0.25, "r_bn": 0.01, "first_bn": 10.0, "tv_l2": 0.0, "l2": 0.0,
    "crop": 0.0, "flip": False, "jitter": [0, 4], "verify": False,
}  # fmt: skip
SIZES = {"quick": {"batch": 20}, "tiny": {"network": "ConvNetW4BN", "batch": 4}}


def product(args: argparse.Namespace, data: "RealSet", pool: "Pool", device: torch.device) -> "Step":
    """A function that does one step of the product."""
    problem = Problem(data, common.settings(args, "sre2l", ipc=1, init="noise"), device, pool)
    return common.unit_of(Recover(problem, RecoverSettings(**SETTINGS, batch=len(data.classes))))


def straightforward(data: "RealSet", pool: "Pool", device: torch.device) -> "Step":
    """A function that does one step of the published loop.

    Hooks collect the statistics of every batch norm's input, Adam moves the images, and a clamp keeps them in range.
    """
    network = copy.deepcopy(pool.network(pool.members[0]))
    deviations = []

    def hook(norm: torch.nn.BatchNorm2d, inputs: "tuple[Tensor, ...]", _: "Tensor") -> None:
        values = inputs[0].permute(1, 0, 2, 3).contiguous().view(inputs[0].shape[1], -1)
        mean, variance = inputs[0].mean([0, 2, 3]), values.var(1, unbiased=False)
        tracked_mean, tracked_variance = norm.running_mean, norm.running_var
        assert tracked_mean is not None and tracked_variance is not None
        deviations.append((mean - tracked_mean).norm() + (variance - tracked_variance).norm())

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(hook)
    labels = torch.arange(len(data.classes), device=device)
    images = torch.randn(len(labels), *data.train.images.shape[1:], device=device, requires_grad=True)
    optimizer = torch.optim.Adam([images], 0.25, betas=(0.5, 0.9))
    low, high = (data.space.to(device).encode(torch.full((1, 3, 1, 1), p, device=device)) for p in (0.0, 1.0))

    def step() -> None:
        deviations.clear()
        logits = network(torch.roll(images, torch.randint(0, 5, (2,)).tolist(), (2, 3)))
        loss = F.cross_entropy(logits, labels) + 0.01 * (10 * deviations[0] + sum(deviations[1:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images.data = images.data.clamp(low, high)

    return step


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__)
    parser.add_argument("--network", default="ResNet18BN")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--size", type=int, default=32)
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """The recovery step of SRe2L and SC-DD, by the contract of ``common.Hot``."""
    data = common.noise(args.batch, args.batch, args.size).to(device)
    pool = common.pool_in(folder, data, device, args.network)
    plain = straightforward(data, pool, device)
    return {"recovery": Hot(plain=plain, ours=lambda own: product(own, data, pool, device))}


def main(args: argparse.Namespace) -> None:
    """Prints the product beside the straightforward loop."""
    device = common.device_of(args)
    data = common.noise(args.batch, args.batch, args.size).to(device)
    with tempfile.TemporaryDirectory() as folder:
        pool = common.pool_in(folder, data, device, args.network)
        contestants = {"straightforward fp32 eager": straightforward(data, pool, device)}
        contestants[common.label(args)] = product(args, data, pool, device)
        table(contestants, args.steps, device)


if __name__ == "__main__":
    main(arguments().parse_args())
