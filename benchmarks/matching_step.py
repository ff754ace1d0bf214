"""One matching step of DC or DSA, and one step of the network between two, against the straightforward loops.

    python -m benchmarks.matching_step --method dsa --precision bf16 --compile --chunk 64 --steps 5

The yardstick is the published shape of the loops at CIFAR-10 size, eager and in fp32. Class by class, 256 real images pass
forward and backward, the 10 synthetic images forward, backward, and backward through that. Between two such steps the
network trains on all 100 synthetic images at once. Each line gives the median over the steps and the growth of memory
during one. The machines are noisy: only figures of one run compare.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from benchmarks import common
from benchmarks.common import CLASSES, IPC, REAL, Hot, PlainClassifier
from benchmarks.measure import table
from distillation import methods
from distillation.augment.siamese import apply, augment_batch, draw
from distillation.augment.strategy import resolve
from distillation.methods.base import Problem
from distillation.runtime.random import generator

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Step
    from distillation.data.real import RealSet

LR_NET, OUTER, INNER = 0.01, 10, 50  # DC's code, for ten images of a class
SIZES = {"quick": {"width": 32, "real": 64}, "tiny": {"width": 4, "real": 4, "ipc": 2}}


def product(data: "RealSet", device: torch.device, args: argparse.Namespace) -> "tuple[Step, Step]":
    """The product as two functions: a matching step, and a step of its network."""
    module = methods.load(args.method)
    settings = module.Settings(
        iterations=10**6, outer=OUTER, inner=INNER, lr_img=0.1, momentum=0.5, lr_net=LR_NET, batch_real=args.real,
        batch_train=256, distance="per_output",
    )  # fmt: skip
    method = module.METHOD(Problem(data, common.settings(args, args.method, ipc=args.ipc), device, None), settings)
    unit = common.unit_of(method)

    def at(place: int) -> None:
        method.at = place
        unit()

    return partial(at, 0), partial(at, 1)


def straightforward(data: "RealSet", device: torch.device, args: argparse.Namespace) -> "tuple[Step, Step]":
    """The published loop as the same two functions."""
    images = common.first_images(data, args.ipc)
    labels = torch.arange(CLASSES, device=device).repeat_interleave(args.ipc)
    optimizer = torch.optim.SGD([images], 0.1, 0.5)
    strategy, draws = resolve("auto" if args.method == "dsa" else "none", True), generator(0, "straightforward")
    network = PlainClassifier(args.width).to(device)
    trainer = torch.optim.SGD(network.parameters(), LR_NET)

    def match() -> None:
        network = PlainClassifier(args.width).to(device)
        parameters = list(network.parameters())
        loss: Any = 0.0  # a Tensor after the first class
        for c, members in enumerate(data.members):
            real = data.encode(data.train.images[members[torch.randperm(len(members), generator=draws)[: args.real]]])
            op, numbers = draw(strategy, 1, 1, draws)
            augmented = [
                apply(x, strategy, op.expand(len(x)), numbers[:, 0].expand(len(x), -1))
                for x in (real, images[c * args.ipc : (c + 1) * args.ipc])
            ]
            target = torch.autograd.grad(
                F.cross_entropy(network(augmented[0]), labels[c * args.ipc].expand(len(augmented[0]))), parameters
            )
            own = F.cross_entropy(network(augmented[1]), labels[c * args.ipc : (c + 1) * args.ipc])
            loss = loss + distance(torch.autograd.grad(own, parameters, create_graph=True), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def train() -> None:
        order = torch.randperm(len(images), generator=draws)
        augmented = augment_batch(images.detach()[order], strategy, draws)
        loss = F.cross_entropy(network(augmented), labels[order])
        trainer.zero_grad()
        loss.backward()
        trainer.step()

    return match, train


def distance(synthetic: "Sequence[Tensor]", real: "Sequence[Tensor]") -> "Tensor":
    """Sum over layers of one cosine distance for each output of a layer."""
    total: Any = 0.0  # a Tensor after the first layer
    for a, b in zip(synthetic, real, strict=True):
        if a.ndim > 1:
            a, b = a.flatten(1), b.flatten(1)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    return total


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__)
    parser.add_argument("--method", default="dc", choices=["dc", "dsa"])
    parser.add_argument("--ipc", type=int, default=IPC)
    parser.add_argument("--real", type=int, default=REAL, help="real images of a class")
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """Both kinds of step of both methods, by the contract of ``common.Hot``; they need no folder."""
    data = common.noise(CLASSES * 2 * args.real).to(device)
    found = {}
    for method in ("dc", "dsa"):
        args = common.changed(args, method=method)
        match, train = straightforward(data, device, args)
        found[f"{method} matching"] = Hot(plain=match, ours=lambda own, m=method: _ours(own, m, data, device)[0])
        found[f"{method} inner step"] = Hot(plain=train, ours=lambda own, m=method: _trained(own, m, data, device))
    return found


def _ours(args: argparse.Namespace, method: str, data: "RealSet", device: torch.device) -> "tuple[Step, Step]":
    return product(data, device, common.changed(args, method=method))


def _trained(args: argparse.Namespace, method: str, data: "RealSet", device: torch.device) -> "Step":
    """The step of the network; the matching step before it draws the network."""
    match, train = _ours(args, method, data, device)
    match()
    return train


def main(args: argparse.Namespace) -> None:
    """Prints the product beside the straightforward loop, for both kinds of step."""
    device = common.device_of(args)
    data = common.noise().to(device)
    contestants = {
        "straightforward fp32 eager": straightforward(data, device, args),
        common.label(args): product(data, device, args),
    }
    for i, kind in enumerate(("matching step", "step of the network")):
        print(f"{args.method}, {kind}")
        table({name: steps[i] for name, steps in contestants.items()}, args.steps, device)


if __name__ == "__main__":
    main(arguments().parse_args())
