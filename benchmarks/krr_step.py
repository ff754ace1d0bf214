"""One update of KRR-ST at CIFAR-100 size against the straightforward loop, side by side in one run, and the error of its solve.

    python -m benchmarks.krr_step [--precision bf16] [--compile] [--real 1024] [--images 1000] [--chunk 256] [--steps 3]

An update asks the target model (ResNet18BN_P2) about ``--real`` images, fits the last layer of a ConvNetW128-256-512BN to
``--images`` synthetic ones, moves them and their targets, and trains the network for one step on them. The yardstick is the
published shape of the loop: eagerly, fp32, torchvision's ResNet18, all images in one batch, a float32 solve. Each line gives
the median over the steps and the growth of memory during one; the machines are noisy: only figures of one run compare.

The error is that of the gradients of the images' features and targets through the solve alone, from the same float32
features, against the same in float64.
"""

import argparse
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from benchmarks.measure import table
from distillation.augment.standard import crop_flip
from distillation.data.real import RealSet, Split
from distillation.data.spaces import Space
from distillation.methods.base import Common, Problem
from distillation.methods.families.ridge import answers
from distillation.methods.krr_st import KRRST, Settings
from distillation.networks.build import build
from distillation.runtime import device, tensors
from distillation.runtime.random import generator
from distillation.teachers.pool import FILE, Pool

WORD, TARGET, WIDTHS, RIDGE, FEATURES = "ConvNetW128-256-512BN", "ResNet18BN_P2", (128, 256, 512), 1e-6, 512
SETTINGS = {
    "iterations": 160000, "lr": 0.0001, "crop_flip": True, "ridge": RIDGE, "pool": 2, "pool_steps": 1000,
    "pool_reset": "corrected", "pool_lr": 0.1, "pool_momentum": 0.9, "pool_decay": 0.001,
}  # fmt: skip
COMMON = {
    "name": "krr_st", "ipc": 1, "seed": 0, "network": WORD, "init": "real", "augment": "none", "alpha": 0.0,
    "teacher": "main", "guidance": {
        "teacher": "main", "epoch": "any", "distance": "ce", "batch": 1, "adapt": False, "scale": "absolute",
    },
}  # fmt: skip


def data_like(count):
    shape = (count, 3, 32, 32)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "images"))
    split = Split(images, torch.zeros(count, dtype=torch.int64))
    space = Space.normalised([0.5071, 0.4866, 0.4409], [0.2673, 0.2564, 0.2762])
    return RealSet(split, split, space, {"name": "noise", "classes": ["a"], "channels": 3, "size": 32, "flip": True})


def pool_for(data, folder, where):
    """A pool of one target model with random weights."""
    network = build(TARGET, 3, 32, FEATURES, generator(0, "target"))
    kept = [{"name": "last", "epoch": 1, "accuracy": None}]
    weights = {f"{TARGET}/0/last/body.{name}": value for name, value in network.body.state_dict().items()}
    info = {"pool": "main", "space": data.space.kind, "classes": None, "shape": [3, 32, 0]}
    record = {**info, "networks": [{"network": TARGET, "index": 0, "kept": kept}]}
    tensors.save(Path(folder) / FILE, {**weights, **data.space.packed()}, record)
    return Pool(folder, where)


def ours(args, data, pool, where):
    """One call is one update of the product, past what comes before the first."""
    common = Common(**COMMON, precision=args.precision, compile=args.compile, chunk=args.chunk)
    problem = Problem(data.to(where), common, where, pool)
    method = KRRST(problem, Settings(**SETTINGS, images=args.images, batch_real=args.real))
    method.at = method.before

    def step():
        method.advance()
        method.apply()

    return step


def plain_body():
    """ConvNet of three blocks of convolution, batch norm, ReLU and average pooling."""
    layers, inside = [], 3
    for width in WIDTHS:
        layers += [nn.Conv2d(inside, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(2)]
        inside = width
    return nn.Sequential(*layers, nn.Flatten())


def straightforward(args, data, where):
    """The published loop."""
    target = resnet18()
    target.conv1, target.maxpool, target.fc = nn.Conv2d(3, 64, 3, 1, 2, bias=False), nn.Identity(), nn.Identity()
    target = target.eval().requires_grad_(False).to(where)
    networks = [nn.Sequential(plain_body(), nn.Linear(8192, FEATURES)).to(where) for _ in range(SETTINGS["pool"])]
    learners = [torch.optim.SGD(n.parameters(), 0.1, 0.9, weight_decay=0.001) for n in networks]
    real, draws = data.to(where).train.images, generator(0, "straightforward")
    mean, std = (data.space.tensors[name].view(1, 3, 1, 1).to(where) for name in ("mean", "std"))
    images = real[: args.images].float() / 255
    targets = target((images - mean) / std).requires_grad_()
    images.requires_grad_()
    optimizer = torch.optim.AdamW([images, targets], 0.0001, weight_decay=0)

    def step():
        place = int(torch.randint(len(networks), (1,), generator=draws))
        network, body = networks[place].eval(), networks[place][0]
        index = torch.randperm(len(real), generator=draws)[: args.real].to(where)
        batch = (crop_flip(real[index].float() / 255, draws, True, 4) - mean) / std
        with torch.no_grad():
            wanted, theirs = target(batch), body(batch)
        loss = (plain_answers(body(images), targets, theirs) - wanted).square().mean()
        images.grad, targets.grad = torch.autograd.grad(loss, (images, targets))
        optimizer.step()
        network.train()
        loss = F.mse_loss(network(images.detach()), targets.detach())
        learners[place].zero_grad()
        loss.backward()
        learners[place].step()

    return step


def plain_answers(synthetic, targets, real):
    """Kernel ridge regression in the precision of what it is given."""
    synthetic, real = (torch.cat([f, f.new_ones(len(f), 1)], 1) for f in (synthetic, real))
    kernel = synthetic @ synthetic.T
    weight = RIDGE * kernel.detach().trace()
    return (
        real @ synthetic.T @ torch.linalg.solve(kernel + weight * torch.eye(len(kernel), device=kernel.device), targets)
    )


def errors(args, data, where):
    """Relative errors of the gradients of the features of the images and of the targets, by who solves."""
    body = plain_body().eval().to(where)
    raw = data.train.images[: args.images + args.real].to(where).float() / 255
    with torch.no_grad():
        features = torch.cat([body(part) for part in raw.split(args.chunk)])
    wanted = torch.randn(len(features), FEATURES, generator=generator(0, "wanted")).abs().to(where)
    given = [features[: args.images], wanted[: args.images], features[args.images :], wanted[args.images :]]

    def gradients(solve, dtype):
        synthetic, targets, real, theirs = (value.to(dtype) for value in given)
        synthetic, targets = synthetic.requires_grad_(), targets.requires_grad_()
        loss = (solve(synthetic, targets, real) - theirs).square().mean()
        return torch.autograd.grad(loss, (synthetic, targets))

    exact = gradients(plain_answers, torch.float64)
    for name, solve in {"straightforward": plain_answers, "ours": lambda *given: answers(*given, RIDGE)}.items():
        found = gradients(solve, torch.float32)
        off = [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]
        print(f"{name:44s} the gradient of features is off by {off[0]:.1e}, of targets by {off[1]:.1e}")


def main(args):
    device.prepare(args.threads)
    where = torch.device(args.device)
    data = data_like(2 * max(args.real, args.images))
    name = f"ours {args.precision}{' compiled' if args.compile else ' eager'} chunk {args.chunk}"
    with tempfile.TemporaryDirectory() as folder:
        named = {"straightforward fp32 eager": straightforward(args, data, where)}
        named[name] = ours(args, data, pool_for(data, folder, where), where)
        table(named, args.steps, where)
    errors(args, data, where)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--real", type=int, default=1024)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    main(parser.parse_args())
