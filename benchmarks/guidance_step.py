"""One step of guidance at CIFAR-10 size: each distance, features kept or fresh, against the straightforward loop.

    python -m benchmarks.guidance_step [--images 50000] [--batch 8196] [--chunk 256] [--steps 3]

The yardstick is the published shape of the cosine distance: the whole real batch and all synthetic images through the
teacher, then the matrix of all pairs. Each line gives the median over the steps, after a first one that is not counted
(it makes the kept features), and the growth of memory during one. The machines are noisy: only figures of one run
compare.
"""

import argparse
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.dm_step import CLASSES, GUIDANCE, IPC, data_like_cifar
from benchmarks.measure import table
from distillation.data.real import RealSet, Split
from distillation.methods import guidance
from distillation.methods.base import Common, Method, Problem
from distillation.methods.guidance import Guidance
from distillation.networks.build import build
from distillation.runtime import device, tensors
from distillation.runtime.random import generator
from distillation.teachers.pool import FILE, Pool


def data_of(count):
    """As many random images as the training set should have."""
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator(0, "images"))
    split, like = Split(images, torch.arange(count) % CLASSES), data_like_cifar()
    return RealSet(split, split, like.space, like.info)


def pool_of(data, where):
    """A pool of one random ConvNet for that data."""
    network = build("ConvNet", *data.shape, generator(0, "teacher"))
    entry = {"network": "ConvNet", "index": 0, "kept": [{"name": "last", "epoch": 1, "accuracy": 10.0}]}
    info = {"pool": "main", "classes": data.classes, "shape": list(data.shape), "space": data.space.kind}
    with tempfile.TemporaryDirectory() as folder:
        weights = {f"ConvNet/0/last/{k}": v for k, v in network.state_dict().items()}
        tensors.save(Path(folder) / FILE, {**weights, **data.space.packed()}, {**info, "networks": [entry]})
        pool = Pool(folder, where)
        pool.network(pool.members[0])
    return pool


def ours(data, pool, where, args, distance, cache=guidance.CACHE):
    """One call is one step of guidance by a distance, with room for ``cache`` bytes of kept features."""
    settings = {
        "name": "dm", "ipc": args.ipc, "seed": 0, "network": "ConvNet", "init": "real", "augment": "auto", "alpha": 1.0,
        "teacher": "main", "guidance": {**GUIDANCE, "distance": distance, "batch": args.batch},
        "precision": "fp32", "compile": False, "chunk": args.chunk,
    }  # fmt: skip
    problem = Problem(data, Common(**settings), where, pool)
    method = Method(problem, None)
    method.images, method.labels = problem.initial_images().requires_grad_(), problem.labels()
    method.images.grad = torch.zeros_like(method.images)
    guidance.CACHE = cache
    guide, updates = Guidance(problem, pool), iter(range(10**6))
    return lambda: guide.add_gradient(method, next(updates))


def straightforward(data, pool, args):
    """The published shape: everything at once, and every pair."""
    network, draws = pool.network(pool.members[0]), generator(0, "straightforward")
    labels = torch.arange(CLASSES, device=data.train.labels.device).repeat_interleave(args.ipc)
    images = data.encode(torch.cat([data.train.images[m[: args.ipc]] for m in data.members])).requires_grad_()

    def step():
        chosen = torch.randint(len(data.train), (args.batch,), generator=draws).to(labels.device)
        with torch.no_grad():
            real = F.normalize(network.embed(data.encode(data.train.images[chosen])))
        distances = 1 - real @ F.normalize(network.embed(images)).T
        mask = data.train.labels[chosen].unsqueeze(1) == labels
        torch.autograd.grad((distances * mask).sum() / distances.sum(), images)

    return step


def main(args):
    device.prepare(args.threads)
    where = torch.device(args.device)
    data = data_of(args.images).to(where)
    pool = pool_of(data, where)
    named = {
        "straightforward cos": straightforward(data, pool, args),
        "ours cos, fresh features": ours(data, pool, where, args, "cos", cache=0),
        "ours cos, kept features": ours(data, pool, where, args, "cos"),
        "ours ce_ratio": ours(data, pool, where, args, "ce_ratio"),
        "ours ce": ours(data, pool, where, args, "ce"),
    }
    table(named, args.steps, where)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000, help="of the training set; CIFAR-10 has 50000")
    parser.add_argument("--batch", type=int, default=8196)
    parser.add_argument("--ipc", type=int, default=IPC)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    main(parser.parse_args())
