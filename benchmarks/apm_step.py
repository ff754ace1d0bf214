"""APM at CIFAR-10 size against the straightforward loop, side by side in one run: one refresh and three updates.

    python -m benchmarks.apm_step --precision bf16 --compile --chunk 64 --ipc 50 --epochs 5 --steps 3
    python -m benchmarks.apm_step --linear 10 25 50           the product alone: time and memory by images of a class
    python -m benchmarks.apm_step --segments 50 100 250 500   the product alone, 64 px: memory by update_syn

The yardstick is the published shape of the loop: eager, fp32, GroupNorm as instance norm, a teacher pass for every snapshot
and one more for the cross-entropy, all 500 images together, dense momentum. A refresh trains a student for ``--epochs``
epochs and keeps five snapshots. The published 250 epochs take 250 / epochs times as long; the last column scales to them.
Lines give medians over the rounds, in which the contestants take turns, and the growth of memory during a refresh and an
update. The machines are noisy: only figures of one run compare.
"""

import argparse
import copy
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from benchmarks import common
from benchmarks.common import CLASSES, Hot, PlainClassifier
from benchmarks.measure import growth, seconds_of
from distillation.augment.siamese import augment_batch
from distillation.augment.strategy import resolve
from distillation.methods.apm import APM, Settings
from distillation.methods.base import Problem
from distillation.runtime.random import generator

if TYPE_CHECKING:
    from benchmarks.measure import Step
    from distillation.data.real import RealSet
    from distillation.teachers.pool import Pool

SNAPSHOTS, UPDATES, PUBLISHED_EPOCHS = 5, 3, 250  # as in APM's experiments
SIZES = {"quick": {"width": 32, "ipc": 10}, "tiny": {"width": 4, "ipc": 1}}


def product(
    args: argparse.Namespace,
    data: "RealSet",
    pool: "Pool",
    device: torch.device,
    network: str | None = None,
    **changed: Any,
) -> "tuple[Step, Step]":
    """The product as two functions: one trains a student, the other makes an update."""
    settings = {
        "iterations": 10**6, "loss": "l1", "lr_img": 1.0, "momentum": 0.5, "milestones": [0.5], "decay": 0.3, "ce": 0.1,
        "batch_syn": None, "update_syn": None, "refresh": 10**6, "epochs": args.epochs, "snapshots": SNAPSHOTS,
        "batch_net": 256, "lr_net": 0.02, "momentum_net": 0.9, "weight_decay": 0.0005, "decay_net": 0.1, "shards": 1,
    }  # fmt: skip
    problem = Problem(
        data,
        common.settings(args, "apm", ipc=args.ipc, network=network or common.network(args), init="noise"),
        device,
        pool,
    )
    method = APM(problem, Settings(**{**settings, **changed}))
    unit = common.unit_of(method)

    def refresh() -> None:
        method.training = None
        unit()
        while not method.training.done:  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess] the unit has made it
            unit()

    def update() -> None:
        while not unit().updated:
            pass

    return refresh, update


def straightforward(args: argparse.Namespace, data: "RealSet", device: torch.device) -> "tuple[Step, Step]":
    """The published loop as the same two functions."""
    images = torch.randn(len(data.classes) * args.ipc, 3, 32, 32, generator=generator(0, "init")).to(device)
    images.requires_grad_()
    labels = torch.arange(len(data.classes), device=device).repeat_interleave(args.ipc)
    optimizer = torch.optim.SGD([images], 1.0, 0.5)
    teacher, snapshots = PlainClassifier(args.width).to(device), []
    strategy, draws = resolve("auto", True), generator(0, "straightforward")

    def refresh() -> None:
        snapshots.clear()
        with torch.no_grad():
            targets = teacher(images)
        student = PlainClassifier(args.width).to(device)
        learner = torch.optim.SGD(student.parameters(), 0.02, 0.9, weight_decay=0.0005)
        for epoch in range(args.epochs):
            for index in torch.randperm(len(images), generator=draws).split(256):
                augmented = augment_batch(images.detach()[index], strategy, draws)
                loss = F.l1_loss(student(augmented), targets[index])
                learner.zero_grad()
                loss.backward()
                learner.step()
            if (epoch + 1) % (args.epochs // SNAPSHOTS) == 0:
                snapshots.append(copy.deepcopy(student))

    def update() -> None:
        optimizer.zero_grad()
        for student in snapshots:
            (-F.l1_loss(student(images), teacher(images))).backward()
        (0.1 * F.cross_entropy(teacher(images), labels)).backward()
        optimizer.step()

    return refresh, update


def measure(
    contestants: "Mapping[str, tuple[Step, Step]]", steps: int, device: torch.device
) -> dict[str, tuple[float, ...]]:
    """Medians of the seconds of a refresh and of an update, and the bytes of memory that each needs, by contestant."""
    memory, times = {}, {name: ([], []) for name in contestants}
    for name, (refresh, update) in contestants.items():
        refresh(), update()  # compiles
        memory[name] = growth(refresh, device), growth(update, device)
    for _ in range(steps):
        for name, (refresh, update) in contestants.items():
            for called, seconds in zip((refresh, update), times[name], strict=True):
                seconds.append(seconds_of(called, device))
    return {name: (*map(statistics.median, times[name]), *memory[name]) for name in contestants}


def race(args: argparse.Namespace, device: torch.device) -> None:
    """Prints the product beside the straightforward loop."""
    data = common.noise(CLASSES * args.ipc).to(device)
    with tempfile.TemporaryDirectory() as folder:
        contestants = {
            "straightforward fp32 eager": straightforward(args, data, device),
            common.label(args): product(args, data, common.pool_in(folder, data, device, common.network(args)), device),
        }
        measured = measure(contestants, args.steps, device)
    print(f"IPC {args.ipc}, {args.epochs} student epochs, {SNAPSHOTS} snapshots, {UPDATES} updates:")
    totals = {}
    for name, (refresh, update, *memory) in measured.items():
        total = refresh + UPDATES * update
        published = refresh * PUBLISHED_EPOCHS / args.epochs + UPDATES * update
        totals.setdefault("first", (total, published))
        ratios = [first / own for first, own in zip(totals["first"], (total, published), strict=True)]
        print(
            f"{name:34s} refresh {refresh:7.2f} s, update {update:7.2f} s, together {total:7.2f} s x{ratios[0]:.2f}, "
            f"at {PUBLISHED_EPOCHS} epochs {published:7.0f} s x{ratios[1]:.2f}; "
            f"memory +{memory[0] / 2**20:,.0f} and +{memory[1] / 2**20:,.0f} MiB"
        )


def linear(args: argparse.Namespace, device: torch.device) -> None:
    """Prints time and memory of the product for each number of images of a class in ``--linear``."""
    print(" IPC   refresh s   update s   memory of a refresh and of an update, MiB")
    for ipc in args.linear:
        args.ipc = ipc
        data = common.noise(CLASSES * ipc).to(device)
        with tempfile.TemporaryDirectory() as folder:
            contestants = {
                "ours": product(args, data, common.pool_in(folder, data, device, common.network(args)), device)
            }
            refresh, update, *memory = measure(contestants, args.steps, device)["ours"]
        print(f"{ipc:4d} {refresh:11.2f} {update:10.2f} {memory[0] / 2**20:11,.0f} {memory[1] / 2**20:8,.0f}")


def segments(args: argparse.Namespace, device: torch.device) -> None:
    """Prints the memory of an update of the product for each ``update_syn`` in ``--segments``.

    Images have 64 px, 50 for each of 100 classes, and the network is ConvNetD4. ImageNet's 1000 classes would only be stored,
    never be in a network at once. An update takes 500 images, one epoch and one snapshot, on which its memory does not depend.
    """
    data = common.noise(100, 100, 64).to(device)
    args.ipc, args.epochs = 50, 1
    print("update_syn   update s   memory of an update, MiB")
    with tempfile.TemporaryDirectory() as folder:
        pool = common.pool_in(folder, data, device, "ConvNetD4")
        for update_syn in args.segments:
            changed = {"batch_syn": 500, "update_syn": update_syn, "snapshots": 1, "batch_net": 64}
            refresh, update = product(args, data, pool, device, "ConvNetD4", **changed)
            refresh(), update()  # compiles
            memory = growth(update, device)
            print(f"{update_syn:10d} {seconds_of(update, device):10.2f} {memory / 2**20:12,.0f}", flush=True)


def arguments() -> argparse.ArgumentParser:
    """The parser of this benchmark."""
    parser = common.parser(__doc__, steps=3)
    parser.add_argument("--ipc", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=SNAPSHOTS)
    parser.add_argument("--linear", type=int, nargs="+", metavar="IPC")
    parser.add_argument("--segments", type=int, nargs="+", metavar="UPDATE_SYN")
    return parser


def steps(args: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Hot]:
    """A student's ``--epochs`` epochs and an image step with its snapshots, by the contract of ``common.Hot``."""
    data = common.noise(CLASSES * args.ipc).to(device)
    pool = common.pool_in(folder, data, device, common.network(args))
    refresh, update = straightforward(args, data, device)
    refresh()
    return {
        "apm image step": Hot(plain=update, ours=lambda own: _refreshed(own, data, pool, device)),
        "apm student": Hot(plain=refresh, ours=lambda own: product(own, data, pool, device)[0]),
    }


def _refreshed(args: argparse.Namespace, data: "RealSet", pool: "Pool", device: torch.device) -> "Step":
    """The image step, after a student has left its snapshots."""
    refresh, update = product(args, data, pool, device)
    refresh()
    return update


def main(args: argparse.Namespace) -> None:
    """Runs the benchmark that the arguments name."""
    device = common.device_of(args)
    if args.linear:
        linear(args, device)
    elif args.segments:
        segments(args, device)
    else:
        race(args, device)


if __name__ == "__main__":
    main(arguments().parse_args())
