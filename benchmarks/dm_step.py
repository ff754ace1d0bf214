"""One DM step at CIFAR-10 size against the straightforward loop, side by side in one run.

    python -m benchmarks.dm_step [--precision bf16] [--compile] [--chunk 64] [--steps 5]

The yardstick is the published shape of the loop: class by class, eagerly, fp32, 256 real images, GroupNorm as instance
norm. Each line gives the median over the steps and the growth of memory during one. The machines are noisy: only
figures of one run compare.
"""

import argparse

import torch
from torch import nn

from benchmarks.measure import table
from distillation.augment.siamese import apply, draw
from distillation.augment.strategy import resolve
from distillation.data.real import RealSet, Split
from distillation.data.spaces import Space
from distillation.methods.base import Common, Problem
from distillation.methods.dm import DM, Settings
from distillation.runtime import device
from distillation.runtime.random import generator

CLASSES, REAL, IPC = 10, 256, 10
GUIDANCE = {
    "teacher": "main", "epoch": "any", "distance": "ce", "batch": 8196, "adapt": False, "scale": "absolute",
}  # fmt: skip


def data_like_cifar():
    images = torch.randint(0, 256, (CLASSES * 500, 3, 32, 32), dtype=torch.uint8, generator=generator(0, "images"))
    split = Split(images, torch.arange(CLASSES).repeat_interleave(500))
    names = [str(c) for c in range(CLASSES)]
    space = Space.normalised([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
    return RealSet(split, split, space, {"name": "noise", "classes": names, "channels": 3, "size": 32, "flip": True})


def ours(data, where, precision, compiled, chunk):
    """One call is one step of the product."""
    common = {
        "name": "dm", "ipc": IPC, "seed": 0, "network": "ConvNet", "init": "real", "augment": "auto", "alpha": 0.0,
        "teacher": "main", "guidance": GUIDANCE,
        "precision": precision, "compile": compiled, "chunk": chunk,
    }  # fmt: skip
    problem = Problem(data.to(where), Common(**common), where, None)
    method = DM(problem, Settings(iterations=10**6, lr_img=1.0, momentum=0.5, batch_real=REAL))

    def step():
        method.advance()
        method.apply()

    return step


class PlainConvNet(nn.Module):
    """ConvNet-D3-W128 with instance norm, from torch's own modules."""

    def __init__(self):
        super().__init__()
        blocks = []
        for channels in (3, 128, 128):
            blocks += [nn.Conv2d(channels, 128, 3, padding=1), nn.GroupNorm(128, 128), nn.ReLU(), nn.AvgPool2d(2)]
        self.features = nn.Sequential(*blocks)

    def forward(self, images):
        return self.features(images).flatten(1)


def straightforward(data, where):
    """The published loop: a new network a step, then class by class real and synthetic images through it."""
    data = data.to(where)
    images = data.encode(torch.cat([data.train.images[m[:IPC]] for m in data.members])).requires_grad_()
    optimizer = torch.optim.SGD([images], 1.0, 0.5)
    strategy, draws = resolve("auto", True), generator(0, "straightforward")

    def step():
        network = PlainConvNet().to(where).requires_grad_(False)
        loss = 0.0
        for c, members in enumerate(data.members):
            real = data.encode(data.train.images[members[torch.randperm(len(members), generator=draws)[:REAL]]])
            op, numbers = draw(strategy, 1, 1, draws)
            seen = [
                apply(x, strategy, op.expand(len(x)), numbers[:, 0].expand(len(x), -1))
                for x in (real, images[c * IPC : (c + 1) * IPC])
            ]
            loss = loss + (network(seen[0]).detach().mean(0) - network(seen[1]).mean(0)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main(args):
    device.prepare(args.threads)
    where = torch.device(args.device)
    data = data_like_cifar()
    named = {"straightforward fp32 eager": straightforward(data, where)}
    name = f"ours {args.precision}{' compiled' if args.compile else ' eager'} chunk {args.chunk}"
    named[name] = ours(data, where, args.precision, args.compile, args.chunk)
    table(named, args.steps, where)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    main(parser.parse_args())
