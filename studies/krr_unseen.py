"""Error of a KRR-ST set on images that nothing was fitted to, beside random real images.

    python -m studies.krr_unseen --networks 3 --steps 0 100 --draws 5

A model fitted to the set should reproduce the target model's features on unseen images. It needs data/distilled of
`dvc repro distill` by krr_st. The last layer of a ConvNet is fitted in closed form to each set, and the mean squared error
of its predictions on the test images of data/real/dataset is printed: for the distilled set, for its initial state, and for
``--draws`` random sets of as many training images with their true features.

Networks are fresh, or trained for ``--steps`` on the same set, like those of method.krr_st's pool; all sets have the same
initial weights. Lower is better; "mean feature" is the error of a constant prediction. Mean and population std are over
networks.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from distillation import params
from distillation.data.distilled import FILE, DistilledSet
from distillation.data.real import RealSet
from distillation.methods.families.regressor import Regressor
from distillation.methods.families.ridge import predictions
from distillation.methods.krr_st import Settings
from distillation.networks.build import build
from distillation.networks.chunks import in_chunks
from distillation.runtime import device
from distillation.runtime.random import generator
from distillation.teachers.pool import Pool
from studies.common import common_with, method_of

if TYPE_CHECKING:
    from torch import Tensor

    from distillation.networks.build import Network
    from distillation.params import Params
    from distillation.teachers.foreign import Foreign

CHUNK = 256  # house: images in a network at once


@torch.no_grad()
def embedded(network: "Network | Foreign", images: "Tensor") -> "Tensor":
    """Features (N, F) of images (N, C, S, S)."""
    return in_chunks(network.embed, images, CHUNK)


def error(
    network: "Network", images: "Tensor", targets: "Tensor", unseen: "Tensor", unseen_targets: "Tensor", ridge: float
) -> float:
    """The outer loss of a set under a network in eval mode.

    Args:
        network: the network.
        images: images (M, C, S, S) of the set.
        targets: targets (M, D) of the set.
        unseen: test images (N, C, S, S).
        unseen_targets: the target model's features (N, D) of the test images.
        ridge: weight of the regularisation.
    """
    network.eval()
    with torch.no_grad():
        regressed = predictions(embedded(network, images), targets, embedded(network, unseen), ridge)
    return float((regressed - unseen_targets).square().mean())


def errors(
    args: argparse.Namespace,
    parameters: "Params",
    images: "Tensor",
    targets: "Tensor",
    unseen: "Tensor",
    unseen_targets: "Tensor",
) -> dict[int, list[float]]:
    """The outer losses of all networks, by their number of training steps; the arguments are those of ``error``."""
    settings, word = parameters.section("method.krr_st", Settings), parameters.value("method.network")
    losses = {}
    for place in range(args.networks):
        _, channels, size, _ = images.shape
        network = build(word, channels, size, targets.shape[1], generator(0, "unseen", place))
        optimizer = torch.optim.SGD(
            network.parameters(), settings.pool_lr, settings.pool_momentum, weight_decay=settings.pool_decay
        )
        regressor = Regressor(network, lambda network, images: network(images), optimizer, "fp32")
        for steps in sorted(args.steps):
            while regressor.steps < steps:
                regressor.train_step(images, targets)
            losses.setdefault(steps, []).append(error(network, images, targets, unseen, unseen_targets, settings.ridge))
    return losses


def features(pool: Pool, images: "Tensor") -> "Tensor":
    """The target model's features (N, D) of raw images (N, C, S, S)."""
    return embedded(pool.network(pool.members[0]), pool.space.encode(images))


def report(name: str, losses: Mapping[int, Sequence[float]]) -> None:
    """Prints mean and std of the losses of a set for each number of steps."""
    for steps, values in losses.items():
        values = torch.tensor(values)
        print(
            f"{name:32s} {steps:5d} steps  {values.mean():.5f} ± {values.std(correction=0):.5f}  n {len(values)}",
            flush=True,
        )


def main(args: argparse.Namespace) -> None:
    """Prints the errors of the distilled set, of its initial state and of random sets."""
    parameters = params.load()
    device.prepare(args.threads)
    data, pool = RealSet.load("data/real/dataset"), Pool(f"models/teachers/{parameters.value('method.teacher')}")
    distilled = DistilledSet.load(f"data/distilled/{FILE}")
    assert distilled.targets is not None  # krr_st learns them
    method: Any = method_of(parameters, common_with(parameters), data, pool)
    splits: Any = (data.train, data.test)  # images in memory, whose type is Tensor
    raw = [split.images.float() / 255 for split in splits]
    unseen, unseen_targets = data.space.encode(raw[1]), features(pool, raw[1])

    def losses(images: "Tensor", targets: "Tensor") -> dict[int, list[float]]:
        return errors(args, parameters, images, targets, unseen, unseen_targets)

    print(f"mean feature: {float((unseen_targets - features(pool, raw[0]).mean(0)).square().mean()):.5f}")
    report("distilled", losses(distilled.images, distilled.targets))
    report("what it began as", losses(method.images.detach(), method.targets.detach()))
    for draw in range(args.draws):
        chosen = raw[0][torch.randperm(len(raw[0]), generator=generator(0, "random", draw))[: len(distilled.images)]]
        report(f"random images {draw}", losses(chosen, features(pool, chosen)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--steps", nargs="+", type=int, default=[0, 100])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    main(parser.parse_args())
