"""One recovery update of SRe2L and SC-DD at CIFAR-100 size against the straightforward loop, side by side in one run.

    python -m benchmarks.recover_step [--precision bf16] [--compile] [--network ResNet18BN] [--batch 100] [--steps 5]

The yardstick is the published shape of the loop: forward hooks on every batch norm, eagerly, fp32. Each line gives the
median over the steps and the growth of memory during one. The machines are noisy: only figures of one run compare.
"""

import argparse
import copy

import torch
import torch.nn.functional as F

from benchmarks.measure import table
from distillation.data.real import RealSet, Split
from distillation.data.spaces import Space
from distillation.methods.base import Common, Problem
from distillation.methods.families.recover import Recover, RecoverSettings
from distillation.networks.build import build
from distillation.runtime import device
from distillation.runtime.random import generator
from distillation.teachers.pool import Member

SETTINGS = {
    "first": 0, "iterations": 10**6, "lr": 0.25, "r_bn": 0.01, "first_bn": 10.0, "tv_l2": 0.0, "l2": 0.0,
    "crop": 0.0, "flip": False, "jitter": [0, 4], "verify": False,
}  # fmt: skip
COMMON = {
    "name": "sre2l", "ipc": 1, "seed": 0, "network": "ConvNet", "init": "noise", "augment": "none", "alpha": 0.0,
    "teacher": "main", "chunk": 256, "guidance": {
        "teacher": "main", "epoch": "any", "distance": "ce", "batch": 1, "adapt": False, "scale": "absolute",
    },
}  # fmt: skip


def data_like(size, classes):
    split = Split(torch.zeros(classes, 3, size, size, dtype=torch.uint8), torch.arange(classes))
    space = Space.normalised([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
    names = [str(c) for c in range(classes)]
    return RealSet(split, split, space, {"name": "none", "classes": names, "channels": 3, "size": size, "flip": True})


class OneNetwork:
    """A pool of one network with fresh weights."""

    def __init__(self, word, data, where):
        self.members, self.classes, self.space = [Member(word, 0, "last", 1, 0.0)], data.classes, data.space
        self.shape = data.shape
        self.made = build(word, *data.shape, generator(0, "teacher")).eval().requires_grad_(False).to(where)

    def network(self, member):
        return self.made


def ours(data, pool, where, precision, compiled):
    """One call is one step of the product."""
    common = Common(**COMMON, precision=precision, compile=compiled)
    problem = Problem(data.to(where), common, where, pool)
    method = Recover(problem, RecoverSettings(**SETTINGS, batch=len(data.classes)))

    def step():
        method.advance()
        method.apply()

    return step


def straightforward(data, pool, where):
    """The published loop: hooks that keep the statistics of every batch norm's input, Adam on the images, a clamp."""
    network = copy.deepcopy(pool.made)
    found = []

    def hook(norm, given, _):
        values = given[0].permute(1, 0, 2, 3).contiguous().view(given[0].shape[1], -1)
        mean, variance = given[0].mean([0, 2, 3]), values.var(1, unbiased=False)
        found.append((mean - norm.running_mean).norm() + (variance - norm.running_var).norm())

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(hook)
    labels = torch.arange(len(data.classes), device=where)
    images = torch.randn(len(labels), *data.train.images.shape[1:], device=where, requires_grad=True)
    optimizer = torch.optim.Adam([images], 0.25, betas=(0.5, 0.9))
    low, high = (data.space.to(where).encode(torch.full((1, 3, 1, 1), p, device=where)) for p in (0.0, 1.0))

    def step():
        found.clear()
        logits = network(torch.roll(images, torch.randint(0, 5, (2,)).tolist(), (2, 3)))
        loss = F.cross_entropy(logits, labels) + 0.01 * (10 * found[0] + sum(found[1:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images.data = images.data.clamp(low, high)

    return step


def main(args):
    device.prepare(args.threads)
    where = torch.device(args.device)
    data = data_like(args.size, args.batch)
    pool = OneNetwork(args.network, data, where)
    name = f"ours {args.precision}{' compiled' if args.compile else ' eager'}"
    named = {"straightforward fp32 eager": straightforward(data, pool, where)}
    named[name] = ours(data, pool, where, args.precision, args.compile)
    table(named, args.steps, where)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--network", default="ResNet18BN")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    main(parser.parse_args())
