"""One step of MoCo v2 on CIFAR-sized images against the straightforward loop, side by side in one run.

    python -m benchmarks.ssl_step --precision bf16 --compile --network ResNet18BN --batch 256 --steps 5

The yardstick is the published shape of the loop: fp32, eager, batch norms split in 8, a queue of 4,096 keys, the momentum
copy updated parameter by parameter. It gets its views for free, the product makes them in the step. Each line gives the
median over the steps and the growth of memory during one. The machines are noisy: only figures of one run compare.
"""

import argparse
import copy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import common
from benchmarks.common import Hot
from benchmarks.measure import table
from distillation.networks.build import build
from distillation.runtime.random import generator, seeded
from distillation.teachers.objectives.moco_v2 import MoCo
from distillation.teachers.selfsupervised.loop import Loop
from distillation.teachers.selfsupervised.norms import split

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.measure import Step

DIM, QUEUE, SPLITS = 128, 4096, 8  # MoCo's CIFAR-10 demo
SIZES = {"quick": {"batch": 16}, "tiny": {"network": "ConvNetW8BN", "batch": 16}}


def product(args: argparse.Namespace, images: "Tensor") -> "Step":
    """A function that does one step of the product, its views included."""
    settings: Any = SimpleNamespace(
        epochs=10**6, batch=args.batch, optimizer="sgd", lr=0.06, momentum=0.9, weight_decay=5e-4, warmup=0,
        crop=0.08, blur=0.0, temperature=0.1, queue=QUEUE, ema=0.99, dim=DIM, hidden=0, splits=SPLITS,
    )  # fmt: skip
    with seeded(generator(0, "model")), torch.no_grad():
        model = MoCo(build(args.network, 3, 32, 10, generator(0, "network")), settings, args.precision)
    views = MoCo.views(settings, 32)
    loop = Loop(model.to(images.device), views, images, lambda x: x, settings, 0, "benchmark", True, args.compile)
    return loop.advance


def straightforward(args: argparse.Namespace, images: "Tensor") -> "Step":
    """A function that does one step of MoCo's algorithm 1, line by line."""
    device = images.device
    with seeded(generator(0, "model")):
        network = split(build(args.network, 3, 32, 10, generator(0, "network")), SPLITS)
        head = nn.Linear(network.features_size, DIM)
    queries = nn.ModuleList([network, head]).to(device)
    keys = copy.deepcopy(queries)
    queue, at = F.normalize(torch.randn(DIM, QUEUE, generator=generator(0, "queue")), dim=0).to(device), 0
    optimizer = torch.optim.SGD(queries.parameters(), 0.06, 0.9, weight_decay=5e-4)
    first, second = (images[: args.batch].float() / 255 for _ in range(2))

    def encoded(encoder: nn.ModuleList, x: "Tensor") -> "Tensor":
        features = encoder[0].embed(x)  # pyright: ignore[reportCallIssue] encoder[0] is a Network
        return F.normalize(encoder[1](features), dim=1)

    def step() -> None:
        nonlocal at
        with torch.no_grad():
            for key, query in zip(keys.parameters(), queries.parameters(), strict=True):
                key.data = key.data * 0.99 + query.data * 0.01
            order = torch.randperm(args.batch, generator=generator(0, "order", at)).to(device)
            k = encoded(keys, second[order])[order.argsort()]
        q = encoded(queries, first)
        logits = torch.cat([torch.einsum("nc,nc->n", q, k).unsqueeze(1), torch.einsum("nc,ck->nk", q, queue)], 1)
        loss = F.cross_entropy(logits / 0.1, torch.zeros(args.batch, dtype=torch.long, device=device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        queue[:, at : at + args.batch] = k.T
        at = (at + args.batch) % QUEUE

    return step


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__, chunk=None)
    parser.add_argument("--network", default="ResNet18BN")
    parser.add_argument("--batch", type=int, default=256)
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """The step of MoCo on two views, by the contract of ``common.Hot``; it needs no folder."""
    shape = (4 * args.batch, 3, 32, 32)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "images")).to(device)
    return {"self-supervised step": Hot(plain=straightforward(args, images), ours=lambda own: product(own, images))}


def main(args: argparse.Namespace) -> None:
    """Prints the product beside the straightforward loop."""
    device = common.device_of(args)
    images = torch.randint(0, 256, (4 * args.batch, 3, 32, 32), dtype=torch.uint8, generator=generator(0, "images"))
    images = images.to(device)
    print(f"{args.network}, {args.batch} images of 32 px, two views, {args.threads} threads")
    table(
        {"straightforward fp32 eager": straightforward(args, images), common.label(args): product(args, images)},
        args.steps,
        device,
    )


if __name__ == "__main__":
    main(arguments().parse_args())
