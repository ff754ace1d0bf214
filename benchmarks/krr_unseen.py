"""How well a set of KRR-ST answers for its target model on images that nothing was fitted to, beside random real images.

    python -m benchmarks.krr_unseen [--networks 3] [--steps 0 100] [--draws 5]

Run it where `dvc repro distill` has made data/distilled by krr_st. The last layer of a ConvNet is fitted in closed form to
each set, and the mean squared error of its answers on the test images of data/real/dataset is printed: for the distilled
set, for what it began as, and for ``--draws`` random sets of as many training images with their true features. Networks are
fresh, and then trained for ``--steps`` on the very set, as those of method.krr_st's pool are; the same weights at first for
every set. Lower is better; "mean feature" is the error of answering every image alike. Mean and population std over networks.
"""

import argparse

import torch

from distillation import params
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.real import RealSet
from distillation.methods.base import Common, Problem
from distillation.methods.families.regressor import Regressor
from distillation.methods.families.ridge import answers
from distillation.methods.krr_st import KRRST, Settings
from distillation.networks.build import build
from distillation.runtime import device
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool

CHUNK = 256


@torch.no_grad()
def embedded(network, images):
    return torch.cat([network.embed(part).float() for part in images.split(CHUNK)])


def error(network, images, targets, unseen, wanted, ridge):
    """The outer loss of a set under a network in eval mode."""
    network.eval()
    with torch.no_grad():
        said = answers(embedded(network, images), targets, embedded(network, unseen), ridge)
    return float((said - wanted).square().mean())


def errors(args, given, images, targets, unseen, wanted):
    """The outer loss by number of steps, then network."""
    settings, word = given.section("method.krr_st", Settings), given.value("method.network")
    found = {}
    for place in range(args.networks):
        network = build(word, *images.shape[1:3], targets.shape[1], generator(0, "unseen", place))
        how = {"momentum": settings.pool_momentum, "weight_decay": settings.pool_decay}
        optimizer = torch.optim.SGD(network.parameters(), settings.pool_lr, **how)
        regressor = Regressor(network, lambda network, images: network(images), optimizer, "fp32")
        for steps in sorted(args.steps):
            while regressor.steps < steps:
                regressor.learn(images, targets)
            found.setdefault(steps, []).append(error(network, images, targets, unseen, wanted, settings.ridge))
    return found


def features(pool, images):
    """The target model's features (N, D) of raw images (N, C, S, S)."""
    given = pool.space.encode(images)
    return embedded(pool.network(pool.members[0]), given)


def report(name, found):
    for steps, values in found.items():
        values = torch.tensor(values)
        print(
            f"{name:32s} {steps:5d} steps  {values.mean():.5f} ± {values.std(correction=0):.5f}  n {len(values)}",
            flush=True,
        )


def main(args):
    given = params.load()
    device.prepare(args.threads)
    data, pool = RealSet.load("data/real/dataset"), Pool(f"models/teachers/{given.value('method.teacher')}")
    common = Common(**{name: given.value(f"method.{name}") for name in Common.model_fields})
    made = DistilledSet.load(f"data/distilled/{FILE}")
    method = KRRST(Problem(data, common, torch.device("cpu"), pool), given.section("method.krr_st", Settings))
    raw = [split.images.float() / 255 for split in (data.train, data.test)]
    unseen, wanted = data.space.encode(raw[1]), features(pool, raw[1])

    def ask(images, targets):
        return errors(args, given, images, targets, unseen, wanted)

    print(f"mean feature: {float((wanted - features(pool, raw[0]).mean(0)).square().mean()):.5f}")
    report("distilled", ask(made.images, made.targets))
    report("what it began as", ask(method.images.detach(), method.targets.detach()))
    for draw in range(args.draws):
        chosen = raw[0][torch.randperm(len(raw[0]), generator=generator(0, "random", draw))[: len(made.images)]]
        report(f"random images {draw}", ask(chosen, features(pool, chosen)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--steps", nargs="+", type=int, default=[0, 100])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
