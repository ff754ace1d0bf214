"""One update of MTT at CIFAR-10 size, three ways to its gradient, against the straightforward loop, side by side in one run.

    python -m benchmarks.mtt_step --walk 10 --ipc 10 --precision bf16 --compile --chunk 64 --steps 3
    python -m benchmarks.mtt_step --memory 2 4 8 16        memory of an update by the student's steps
    python -m benchmarks.mtt_step --cosine 5 10 20 50      TESLA's gradient beside the exact one, on real experts

The yardstick is the published shape of the loop, eager and in fp32: all steps of the student in one graph, through which
the gradient passes at once. Each line gives the median over the updates and the growth of memory during one. The
machines are noisy: only figures of one run compare.

``--cosine`` reads data/real/dataset and models/teachers/POOL, a pool of `dvc repro` whose objective is trajectory. It takes
real images at the learning rate of method.mtt.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from benchmarks import common
from benchmarks.common import CLASSES, IPC, Hot, PlainClassifier
from benchmarks.measure import growth, table
from distillation import params
from distillation.augment.siamese import augment_batch
from distillation.augment.strategy import resolve
from distillation.data.real import RealSet
from distillation.methods.base import Problem
from distillation.methods.mtt import MTT, ROUTES, Settings
from distillation.networks.build import build
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool, epoch_name

if TYPE_CHECKING:
    from benchmarks.measure import Step

LR_IMG, LR_NET = 100.0, 0.01  # as published for one image a class
SIZES = {"quick": {"width": 32, "walk": 5}, "tiny": {"width": 4, "walk": 2, "ipc": 1}}


def expert_pool(args: argparse.Namespace, folder: str | Path, data: RealSet, device: torch.device) -> Pool:
    """A pool of one expert with random weights at each of three epochs, so that no two of them are equal."""
    networks = [build(common.network(args), *data.shape, generator(0, "expert", epoch)) for epoch in range(3)]
    weights = {epoch_name(epoch): parameters_to_vector(network.parameters()) for epoch, network in enumerate(networks)}
    weights |= {f"last/{name}": value for name, value in networks[-1].state_dict().items()}
    return common.pool_in(
        folder, data, device, common.network(args), weights, objective="trajectory", settings={"epochs": 2}
    )


def product(
    args: argparse.Namespace, data: RealSet, pool: Pool, device: torch.device, gradient: str, walk: int
) -> "Step":
    """A function that does one update of the product by the route ``gradient``, with ``walk`` steps of the student."""
    settings = Settings(
        iterations=10**6, steps=walk, expert_epochs=2, max_start=1, batch_syn=None, lr_img=LR_IMG, momentum=0.5,
        lr_net=LR_NET, lr_lr=0.0,
        gradient=gradient,  # pyright: ignore[reportArgumentType] a key of ROUTES
    )  # fmt: skip
    return common.unit_of(MTT(Problem(data, common.settings(args, "mtt", ipc=args.ipc), device, pool), settings))


def straightforward(args: argparse.Namespace, data: RealSet, device: torch.device) -> "Step":
    """A function that does one update of the published loop."""
    images = common.first_images(data, args.ipc)
    labels = torch.arange(CLASSES, device=device).repeat_interleave(args.ipc)
    rate = torch.tensor(LR_NET, device=device).requires_grad_()
    optimizer = torch.optim.SGD([{"params": [images], "lr": LR_IMG}, {"params": [rate], "lr": 0.0}], momentum=0.5)
    network, strategy, draws = (
        PlainClassifier(args.width).to(device),
        resolve("auto", True),
        generator(0, "straightforward"),
    )
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    start, target = (
        parameters_to_vector(PlainClassifier(args.width).to(device).parameters()).detach() for _ in range(2)
    )

    def update() -> None:
        vector = start.clone().requires_grad_()
        for _ in range(args.walk):
            index = torch.randperm(len(images), generator=draws)
            augmented = augment_batch(images[index], strategy, draws)
            parts = vector.split([shape.numel() for shape in shapes.values()])
            parameters = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
            loss = F.cross_entropy(functional_call(network, parameters, (augmented,)), labels[index])
            (gradient,) = torch.autograd.grad(loss, vector, create_graph=True)
            vector = vector - rate * gradient
        optimizer.zero_grad()
        ((vector - target).square().sum() / (start - target).square().sum()).backward()
        optimizer.step()

    return update


def race(args: argparse.Namespace, device: torch.device) -> None:
    """Prints each route of the product beside the straightforward loop."""
    data = common.noise().to(device)
    with tempfile.TemporaryDirectory() as folder:
        pool = expert_pool(args, folder, data, device)
        contestants = {"straightforward fp32 eager": straightforward(args, data, device)}
        for gradient in ROUTES:
            contestants[f"{gradient}, {common.label(args)}"] = product(args, data, pool, device, gradient, args.walk)
        print(f"IPC {args.ipc}, {args.walk} steps of the student:")
        table(contestants, args.steps, device)


def memory(args: argparse.Namespace, device: torch.device) -> None:
    """Prints the memory of an update by each route, for each number of steps in ``--memory``."""
    data = common.noise().to(device)
    print("steps " + "".join(f"{gradient:>14s}" for gradient in ROUTES) + "   MiB")
    with tempfile.TemporaryDirectory() as folder:
        pool = expert_pool(args, folder, data, device)
        for walk in args.memory:
            sizes = []
            for gradient in ROUTES:
                update = product(args, data, pool, device, gradient, walk)
                update()
                sizes.append(growth(update, device) / 2**20)
            print(f"{walk:5d} " + "".join(f"{each:14,.0f}" for each in sizes), flush=True)


def cosine(args: argparse.Namespace, device: torch.device) -> None:
    """Prints the cosine of TESLA's gradient of the images to the exact one, over segments of the experts' first epochs."""
    data, pool = RealSet.load("data/real/dataset").to(device), Pool(f"models/teachers/{args.pool}", device)
    published = params.load().section("method.mtt", Settings)
    settings = common.settings(args, "mtt", ipc=args.ipc, network=pool.words[0], teacher=args.pool)
    print("steps   cosine to the exact gradient: mean, least, greatest; norm as a share of it")
    for walk in args.cosine:
        method = MTT(Problem(data, settings, device, pool), published.model_copy(update={"steps": walk}))
        assert method.images is not None
        rows = []
        for update in range(args.segments):
            start, target = method._segment(method.problem.draws("segment", update))
            steps = [lambda x, u=update, k=k, seen=method._seen: seen(u, k, x) for k in range(walk)]
            case = method.student, steps, start, target, method.lr.detach(), method.images.detach()
            exact, near = (ROUTES[gradient](*case)[0].flatten() for gradient in ("adjoint", "tesla"))
            rows.append((float(F.cosine_similarity(near, exact, dim=0)), float(near.norm() / exact.norm())))
        cosines, norms = zip(*rows, strict=True)
        mean, fraction = statistics.mean(cosines), statistics.mean(norms)
        print(f"{walk:5d} {mean:8.3f} {min(cosines):8.3f} {max(cosines):8.3f} {fraction:8.2f}", flush=True)


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__, steps=3)
    parser.add_argument("--walk", type=int, default=10, help="steps of the student")
    parser.add_argument("--ipc", type=int, default=IPC)
    parser.add_argument("--memory", type=int, nargs="+", metavar="WALK")
    parser.add_argument("--cosine", type=int, nargs="+", metavar="WALK")
    parser.add_argument("--pool", default="main")
    parser.add_argument("--segments", type=int, default=10)
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """MTT's update by the default route, by the contract of ``common.Hot``."""
    data = common.noise(CLASSES * args.ipc).to(device)
    pool = expert_pool(args, folder, data, device)
    plain = straightforward(args, data, device)
    return {"mtt update": Hot(plain=plain, ours=lambda own: product(own, data, pool, device, "adjoint", own.walk))}


def main(args: argparse.Namespace) -> None:
    """Runs the benchmark that the arguments name."""
    device = common.device_of(args)
    if args.memory:
        memory(args, device)
    elif args.cosine:
        cosine(args, device)
    else:
        race(args, device)


if __name__ == "__main__":
    main(arguments().parse_args())
