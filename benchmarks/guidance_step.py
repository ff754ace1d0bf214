"""One step of guidance at CIFAR-10 size: each distance, features cached or fresh, against the straightforward loop.

    python -m benchmarks.guidance_step --images 50000 --batch 8196 --chunk 256 --steps 3

The yardstick is the published shape of the cosine distance: the whole real batch and all synthetic images through the
teacher, then the matrix of all pairs. Each line gives the median over the steps, without a first one that computes the
cached features, and the growth of memory during one. The machines are noisy: only figures of one run compare.
"""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from benchmarks import common
from benchmarks.common import CLASSES, IPC, Hot
from benchmarks.measure import table
from distillation.methods import guidance
from distillation.methods.base import Method, Problem
from distillation.methods.guidance import Guidance
from distillation.params import Section
from distillation.runtime.random import generator

if TYPE_CHECKING:
    from benchmarks.measure import Step
    from distillation.data.real import RealSet
    from distillation.teachers.pool import Pool
SIZES = {"quick": {"width": 32, "images": 2000, "batch": 512}, "tiny": {"width": 4, "images": 20, "batch": 8, "ipc": 1}}


def product(
    data: "RealSet",
    pool: "Pool",
    device: torch.device,
    args: argparse.Namespace,
    distance: str,
    cache: int = guidance.CACHE,
) -> "Step":
    """A function that does one step of guidance by a distance, with room for ``cache`` bytes of cached features."""
    settings = {"alpha": 1.0, "ipc": args.ipc, "guidance": {"distance": distance, "batch": args.batch}}
    problem = Problem(data, common.settings(args, "dm", **settings), device, pool)
    method = Method(problem, Section())
    method.images, method.labels = problem.initial_images().requires_grad_(), problem.labels()
    method.images.grad = torch.zeros_like(method.images)
    guidance.CACHE = cache
    guide, counter = Guidance(problem, pool), iter(range(10**6))
    return lambda: guide.add_gradient(method, next(counter))


def straightforward(data: "RealSet", pool: "Pool", args: argparse.Namespace) -> "Step":
    """A function that does one step of the published shape: everything at once, and every pair."""
    network, draws = pool.network(pool.members[0]), generator(0, "straightforward")
    labels = torch.arange(CLASSES, device=data.train.labels.device).repeat_interleave(args.ipc)
    images = common.first_images(data, args.ipc)

    def step() -> None:
        chosen = torch.randint(len(data.train), (args.batch,), generator=draws).to(labels.device)
        with torch.no_grad():
            real = F.normalize(network.embed(data.encode(data.train.images[chosen])))
        distances = 1 - real @ F.normalize(network.embed(images)).T
        mask = data.train.labels[chosen].unsqueeze(1) == labels
        torch.autograd.grad((distances * mask).sum() / distances.sum(), images)

    return step


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__, chunk=256, steps=3)
    parser.add_argument("--images", type=int, default=5000, help="number of training images; CIFAR-10 has 50000")
    parser.add_argument(
        "--batch", type=int, default=8196, help="of the real images (default: 8196, as in CLoM's README, sic)"
    )
    parser.add_argument("--ipc", type=int, default=IPC)
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """Guidance by the cosine distance with fresh features, by the contract of ``common.Hot``."""
    data = common.noise(args.images).to(device)
    pool = common.pool_in(folder, data, device, common.network(args))
    pool.network(pool.members[0])
    plain = straightforward(data, pool, args)
    return {"guidance": Hot(plain=plain, ours=lambda own: product(data, pool, device, own, "cos", cache=0))}


def main(args: argparse.Namespace) -> None:
    """Prints each distance of the product beside the straightforward loop."""
    device = common.device_of(args)
    data = common.noise(args.images).to(device)
    with tempfile.TemporaryDirectory() as folder:
        pool = common.pool_in(folder, data, device, common.network(args))
        pool.network(pool.members[0])
    contestants = {
        "straightforward cos": straightforward(data, pool, args),
        "ours cos, fresh features": product(data, pool, device, args, "cos", cache=0),
        "ours cos, kept features": product(data, pool, device, args, "cos"),
        "ours ce_ratio": product(data, pool, device, args, "ce_ratio"),
        "ours ce": product(data, pool, device, args, "ce"),
    }
    table(contestants, args.steps, device)


if __name__ == "__main__":
    main(arguments().parse_args())
