"""One update of KRR-ST at CIFAR-100 size against the straightforward loop, side by side in one run, and the error of its solve.

    python -m benchmarks.krr_step --precision bf16 --compile --real 1024 --images 1000 --chunk 256 --steps 3

An update computes the target model's features (ResNet18BN_P2) of ``--real`` images and fits the last layer of a
ConvNetW128-256-512BN to ``--images`` synthetic ones. It moves these and their targets, and trains the network for one step
on them. The yardstick is the published shape of the loop: eager, fp32, torchvision's ResNet18, all images in one batch, a
float32 solve. Each line gives the median over the steps and the growth of memory during one. The machines are noisy: only
figures of one run compare.

The error is that of the gradients of the images' features and targets through the solve alone, from the same float32
features, against the same in float64.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from benchmarks import common
from benchmarks.common import Hot
from benchmarks.measure import table
from distillation.augment.standard import crop_flip
from distillation.methods.base import Problem
from distillation.methods.families.ridge import predictions
from distillation.methods.krr_st import KRRST, Settings
from distillation.networks.build import build
from distillation.runtime.random import generator

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Step
    from distillation.data.real import RealSet
    from distillation.teachers.pool import Pool

NETWORK, TARGET, WIDTHS, RIDGE, FEATURES = "ConvNetW128-256-512BN", "ResNet18BN_P2", (128, 256, 512), 1e-6, 512
SETTINGS = {
    "iterations": 160000, "lr": 0.0001, "crop_flip": True, "ridge": RIDGE, "pool": 2, "pool_steps": 1000,
    "pool_reset": "corrected", "pool_lr": 0.1, "pool_momentum": 0.9, "pool_decay": 0.001,
}  # fmt: skip
SIZES = {"quick": {"real": 48, "images": 40, "chunk": 64}, "tiny": {"real": 4, "images": 4}}


def target_pool(folder: str | Path, data: "RealSet", device: torch.device) -> "Pool":
    """A pool of one target model with random weights that has features only."""
    network = build(TARGET, 3, 32, FEATURES, generator(0, "target"))
    weights = {f"last/body.{name}": value for name, value in network.body.state_dict().items()}
    return common.pool_in(folder, data, device, TARGET, weights, classes=None, shape=[3, 32, 0])


def product(args: argparse.Namespace, data: "RealSet", pool: "Pool", device: torch.device) -> "Step":
    """A function that does one update of the product, after the work that precedes the first."""
    problem = Problem(data, common.settings(args, "krr_st", ipc=1, network=NETWORK), device, pool)
    method = KRRST(problem, Settings(**SETTINGS, images=args.images, batch_real=args.real))
    method.at = method.before
    return common.unit_of(method)


def plain_body() -> nn.Sequential:
    """ConvNet of three blocks of convolution, batch norm, ReLU and average pooling."""
    layers, inside = [], 3
    for width in WIDTHS:
        layers += [nn.Conv2d(inside, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(2)]
        inside = width
    return nn.Sequential(*layers, nn.Flatten())


def straightforward(args: argparse.Namespace, data: "RealSet", device: torch.device) -> "Step":
    """A function that does one update of the published loop."""
    target = resnet18()
    target.conv1 = nn.Conv2d(3, 64, 3, 1, 2, bias=False)
    target.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue] any Module does
    target.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue] any Module does
    target = target.eval().requires_grad_(False).to(device)
    networks = [nn.Sequential(plain_body(), nn.Linear(8192, FEATURES)).to(device) for _ in range(SETTINGS["pool"])]
    learners = [torch.optim.SGD(n.parameters(), 0.1, 0.9, weight_decay=0.001) for n in networks]
    real, draws = common.pixels(data), generator(0, "straightforward")
    mean, std = (data.space.tensors[name].view(1, 3, 1, 1) for name in ("mean", "std"))
    images = real[: args.images].float() / 255
    targets = target((images - mean) / std).requires_grad_()
    images.requires_grad_()
    optimizer = torch.optim.AdamW([images, targets], 0.0001, weight_decay=0)

    def step() -> None:
        place = int(torch.randint(len(networks), (1,), generator=draws))
        network, body = networks[place].eval(), networks[place][0]
        index = torch.randperm(len(real), generator=draws)[: args.real].to(device)
        batch = (crop_flip(real[index].float() / 255, draws, True, 4) - mean) / std
        with torch.no_grad():
            real_targets, features = target(batch), body(batch)
        loss = (plain_predictions(body(images), targets, features) - real_targets).square().mean()
        images.grad, targets.grad = torch.autograd.grad(loss, (images, targets))
        optimizer.step()
        network.train()
        loss = F.mse_loss(network(images.detach()), targets.detach())
        learners[place].zero_grad()
        loss.backward()
        learners[place].step()

    return step


def plain_predictions(synthetic: "Tensor", targets: "Tensor", real: "Tensor") -> "Tensor":
    """Kernel ridge regression in the precision of its arguments.

    Args:
        synthetic: features (M, F).
        targets: targets (M, D) of them.
        real: features (N, F).

    Returns:
        Predictions (N, D).
    """
    synthetic, real = (torch.cat([f, f.new_ones(len(f), 1)], 1) for f in (synthetic, real))
    kernel = synthetic @ synthetic.T
    weight = RIDGE * kernel.detach().trace()
    return (
        real @ synthetic.T @ torch.linalg.solve(kernel + weight * torch.eye(len(kernel), device=kernel.device), targets)
    )


def errors(args: argparse.Namespace, data: "RealSet", device: torch.device) -> None:
    """Prints the relative errors of the gradients of the images' features and of the targets, solver by solver."""
    body = plain_body().eval().to(device)
    raw = common.pixels(data)[: args.images + args.real].float() / 255
    with torch.no_grad():
        features = torch.cat([body(part) for part in raw.split(args.chunk)])
    outputs = torch.randn(len(features), FEATURES, generator=generator(0, "outputs")).abs().to(device)
    parts = [each[rows] for rows in (slice(args.images), slice(args.images, None)) for each in (features, outputs)]

    def gradients(solve: "Callable[[Tensor, Tensor, Tensor], Tensor]", dtype: torch.dtype) -> "tuple[Tensor, ...]":
        synthetic, targets, real, real_targets = (value.to(dtype) for value in parts)
        synthetic, targets = synthetic.requires_grad_(), targets.requires_grad_()
        loss = (solve(synthetic, targets, real) - real_targets).square().mean()
        return torch.autograd.grad(loss, (synthetic, targets))

    exact = gradients(plain_predictions, torch.float64)
    for name, solve in {
        "straightforward": plain_predictions,
        "ours": lambda synthetic, targets, real: predictions(synthetic, targets, real, RIDGE),
    }.items():
        rounded = gradients(solve, torch.float32)
        off = [float((a.double() - b).norm() / b.norm()) for a, b in zip(rounded, exact, strict=True)]
        print(f"{name:44s} the gradient of features is off by {off[0]:.1e}, of targets by {off[1]:.1e}")


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__, chunk=256, steps=3)
    parser.add_argument("--real", type=int, default=1024)
    parser.add_argument("--images", type=int, default=1000)
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """KRR-ST's outer and online step together, by the contract of ``common.Hot``."""
    data = common.noise(2 * max(args.real, args.images), classes=1).to(device)
    plain, pool = straightforward(args, data, device), target_pool(folder, data, device)
    return {"krr_st outer step": Hot(plain=plain, ours=lambda own: product(own, data, pool, device))}


def main(args: argparse.Namespace) -> None:
    """Prints the product beside the straightforward loop, and the errors of both."""
    device = common.device_of(args)
    data = common.noise(2 * max(args.real, args.images), classes=1).to(device)
    with tempfile.TemporaryDirectory() as folder:
        contestants = {"straightforward fp32 eager": straightforward(args, data, device)}
        contestants[common.label(args)] = product(args, data, target_pool(folder, data, device), device)
        table(contestants, args.steps, device)
    errors(args, data, device)


if __name__ == "__main__":
    main(arguments().parse_args())
