"""The quality of frozen features: accuracy of a vote among neighbours, and of a linear classifier."""

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.data.real import RealSet, Split
from distillation.networks.chunks import in_chunks
from distillation.runtime.device import autocast
from distillation.runtime.random import generator
from distillation.teachers.selfsupervised.settings import KnnSettings, ProbeSettings
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate
from distillation.training.schedules import stepped

if TYPE_CHECKING:
    from distillation.networks.build import Network


@torch.no_grad()
def features(network: "Network", data: RealSet, split: Split, precision: str, chunk: int = 512) -> Tensor:
    """Returns features (N, F) float32 of a split of ``data``, un-augmented, in eval mode."""
    network.eval()

    def embedded(images: Tensor) -> Tensor:
        encoded = data.encode(images)  # in full precision, as the network was trained
        with autocast(images.device, precision):
            return network.embed(encoded).float()

    return in_chunks(embedded, cast("Tensor", split.images), chunk)  # images in files split alike


@torch.no_grad()
def neighbours(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    labels: Tensor,
    classes: int,
    settings: KnnSettings,
    chunk: int = 512,
) -> float:
    """Returns the k-NN accuracy in percent: queries whose nearest features in a bank vote for their class.

    The ``k`` most similar by cosine vote with the weight exp(cosine / temperature) (Wu et al. 2018; MoCo's CIFAR-10
    demo); among classes with equal votes the first wins.

    ``lightly.utils.benchmarking.knn_predict`` predicts the same, but leaves ties open, and holds a one-hot label for each of
    the (chunk, k) neighbours: from 1.1 times this memory (10 classes, a bank of 50,000) to 12 times (102 classes, 2,040).

    Args:
        bank: features (N, F), N at least ``settings.k``.
        bank_labels: their labels (N,).
        queries: features (M, F).
        labels: their true labels (M,).
        classes: number of classes.
        settings: k and temperature.
        chunk: queries at a time.
    """
    bank, votes, hits = F.normalize(bank, dim=1), F.one_hot(bank_labels, classes).float(), 0
    for part, truth in zip(F.normalize(queries, dim=1).split(chunk), labels.split(chunk), strict=True):
        near = (part @ bank.T).topk(settings.k, dim=1)
        weights = torch.zeros(len(part), len(bank), device=part.device)
        weights.scatter_(1, near.indices, (near.values / settings.temperature).exp())
        hits += ((weights @ votes).argmax(1) == truth).sum()
    return 100 * int(hits) / len(queries)


class Probe:
    """A linear classifier trained on frozen features, one epoch at a time.

    MoCo's linear protocol: weights from N(0, 0.01²), biases 0, cross-entropy, SGD with a stepped learning rate.

    Args:
        bank: (N, F) features.
        labels: (N,).
        classes: number of classes.
        settings: of the training.
        seed: seed of every draw.
        name: prefix of the draws' names.
    """

    def __init__(
        self, bank: Tensor, labels: Tensor, classes: int, settings: ProbeSettings, seed: int, name: str
    ) -> None:
        self.bank, self.labels, self.settings, self.seed, self.name = bank, labels, settings, seed, name
        self.classifier = cast("nn.Linear", nn.utils.skip_init(nn.Linear, bank.shape[1], classes))
        nn.init.normal_(self.classifier.weight, std=0.01, generator=generator(seed, name, "probe"))
        nn.init.zeros_(self.classifier.bias)
        self.classifier.to(bank.device)
        self.optimizer = torch.optim.SGD(
            self.classifier.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )
        self.epoch = 0

    @property
    def done(self) -> bool:
        """Whether all epochs are complete."""
        return self.epoch >= self.settings.epochs

    def advance(self) -> float:
        """Trains for one epoch; returns its mean loss."""
        settings, count = self.settings, len(self.bank)
        factor = stepped(self.epoch, settings.epochs, settings.milestones, settings.decay)
        set_rate(self.optimizer, settings.lr * factor)
        total = 0.0
        order = torch.randperm(count, generator=generator(self.seed, self.name, "probe", self.epoch))
        for index in order.to(self.bank.device).split(settings.batch):
            loss = F.cross_entropy(self.classifier(self.bank[index]), self.labels[index])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(index)
        self.epoch += 1
        return float(total) / count

    def state_dict(self) -> dict:
        """Returns weights, optimiser state and epoch."""
        classifier = dict(self.classifier.state_dict())
        return {"classifier": classifier, "optimizer": optimizer_state(self.optimizer), "epoch": self.epoch}

    def load_state_dict(self, state: dict) -> None:
        """Restores what ``state_dict`` returned."""
        self.classifier.load_state_dict(state["classifier"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.epoch = state["epoch"]
