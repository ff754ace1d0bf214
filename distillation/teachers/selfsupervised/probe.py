"""The quality of frozen features: the k-NN accuracy, and a linear classifier (probe), which becomes the teacher's."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillation.augment.standard import resized_crop_flip
from distillation.data.indexed import indices_on
from distillation.data.real import RealSet, Split
from distillation.networks.chunks import in_chunks
from distillation.runtime.device import autocast
from distillation.runtime.random import generator
from distillation.runtime.transfers import to_device
from distillation.teachers.selfsupervised.settings import KnnSettings, ProbeSettings
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate
from distillation.training.schedules import stepped

if TYPE_CHECKING:
    from distillation.networks.build import Network

FeaturesOf = Callable[[Tensor, torch.Generator], Tensor]  # of indices (n,) and the draws of a step, to features (n, F)


@torch.no_grad()
def features(network: "Network", data: RealSet, split: Split, precision: str, chunk: int = 512) -> Tensor:
    """Computes the features of a split, un-augmented, in eval mode, in which it leaves the network.

    Args:
        network: a network with features, on the device of the split.
        data: the dataset, whose space the network's inputs are in.
        split: a split of ``data``.
        precision: ``fp32`` or ``bf16``.
        chunk: number of images at a time.

    Returns:
        (N, F) float32 on the device, in the order of the split.
    """
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
    """Computes the k-NN accuracy: the percentage of queries whose nearest features in a bank vote for their class.

    The ``k`` most similar by cosine vote with the weight exp(cosine / temperature) (Wu et al. 2018; MoCo's CIFAR-10
    demo); among classes with equal votes the first wins.

    ``lightly.utils.benchmarking.knn_predict`` predicts the same, but leaves ties open, and holds a one-hot label for
    each of the (chunk, k) neighbours: from 1.1 times this memory (10 classes, a bank of 50,000) to 12 times (102
    classes, 2,040).

    Args:
        bank: features (N, F) of the training images, N at least ``settings.k``.
        bank_labels: their labels (N,) int64.
        queries: features (M, F) of the test images.
        labels: their true labels (M,) int64.
        classes: number of classes.
        settings: k and temperature.
        chunk: number of queries at a time; memory grows with ``chunk`` times N.
    """
    bank, votes, hits = F.normalize(bank, dim=1), F.one_hot(bank_labels, classes).float(), 0
    for part, truth in zip(F.normalize(queries, dim=1).split(chunk), labels.split(chunk), strict=True):
        near = (part @ bank.T).topk(settings.k, dim=1)
        # Weights of the whole bank, 0 but for the neighbours: one matrix product then adds up the votes of each class.
        weights = torch.zeros(len(part), len(bank), device=part.device)
        weights.scatter_(1, near.indices, (near.values / settings.temperature).exp())
        hits += ((weights @ votes).argmax(1) == truth).sum()
    return 100 * int(hits) / len(queries)


def of_bank(bank: Tensor) -> FeaturesOf:
    """Returns a function for Probe that looks up features in a bank (N, F) and ignores the generator."""
    return lambda index, draws: bank[index]


def of_crops(network: "Network", data: RealSet, crop: float, precision: str) -> FeaturesOf:
    """Returns a function for Probe that computes features of augmented training images in eval mode.

    Each image is cropped, resized and mirrored (if that keeps the class) by the generator; see ``resized_crop_flip``.

    Args:
        network: a network with features; it is put into eval mode now.
        data: the dataset, of whose training images the indices are.
        crop: the least fraction of an image's area that is kept, in (0, 1].
        precision: ``fp32`` or ``bf16``.
    """
    images, flip = data.train.images, data.info["flip"]
    network.eval()

    @torch.no_grad()
    def features_of(index: Tensor, draws: torch.Generator) -> Tensor:
        raw = cast("Tensor", images[to_device(index, indices_on(images))]).float() / 255
        encoded = data.space.encode(resized_crop_flip(raw, draws, flip, crop))
        with autocast(encoded.device, precision):
            return network.embed(encoded).float()

    return features_of


class Probe:
    """The training of a linear classifier on frozen features, one step at a time.

    It can be interrupted and resumed between any two steps. It follows MoCo's linear protocol: weights from N(0,
    0.01²), biases 0, cross-entropy, SGD with a stepped learning rate.

    Args:
        features_of: function of indices (n,) and a generator that returns features (n, width); with ``of_crops`` the
            protocol is MoCo's, with ``of_bank`` it lacks the augmentation.
        width: length of an image's features.
        labels: (N,) int64 of the training images, on the device where the classifier shall be.
        classes: number of classes.
        settings: of the training.
        seed: seed of all random numbers.
        name: prefix of the names of their generators.

    Attributes:
        classifier: the linear layer from features to logits.
        step: number of steps completed.
        steps_per_epoch: number of batches of an epoch, the last of which may have fewer images.
    """

    def __init__(
        self,
        features_of: FeaturesOf,
        width: int,
        labels: Tensor,
        classes: int,
        settings: ProbeSettings,
        seed: int,
        name: str,
    ) -> None:
        self.features_of, self.labels, self.settings, self.seed, self.name = features_of, labels, settings, seed, name
        # skip_init: the layer's own initial weights would be drawn from the global generator.
        self.classifier = cast("nn.Linear", nn.utils.skip_init(nn.Linear, width, classes))
        nn.init.normal_(self.classifier.weight, std=0.01, generator=generator(seed, name, "probe"))
        nn.init.zeros_(self.classifier.bias)
        self.classifier.to(labels.device)
        self.optimizer = torch.optim.SGD(
            self.classifier.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )
        self.steps_per_epoch = math.ceil(len(labels) / settings.batch)
        self.step = 0
        self.epoch_loss = torch.zeros((), device=labels.device)

    @property
    def epoch(self) -> int:
        """Number of complete epochs."""
        return self.step // self.steps_per_epoch

    @property
    def done(self) -> bool:
        """Whether all epochs are complete."""
        return self.epoch >= self.settings.epochs

    def advance(self) -> float | None:
        """Takes one optimiser step.

        Returns:
            The mean loss of the epoch over its images, if this step completes one, else None.
        """
        place = self.step % self.steps_per_epoch
        if place == 0:
            self._begin_epoch()
            self.epoch_loss.zero_()
        index = self.order[place * self.settings.batch : (place + 1) * self.settings.batch]
        features = self.features_of(index, generator(self.seed, self.name, "probe views", self.step))
        loss = F.cross_entropy(self.classifier(features), self.labels[index])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.epoch_loss += loss.detach() * len(index)
        self.step += 1
        return float(self.epoch_loss) / len(self.labels) if place + 1 == self.steps_per_epoch else None

    def _begin_epoch(self) -> None:
        """Sets the rate and the order of the epoch."""
        settings = self.settings
        set_rate(
            self.optimizer, settings.lr * stepped(self.epoch, settings.epochs, settings.milestones, settings.decay)
        )
        order = torch.randperm(len(self.labels), generator=generator(self.seed, self.name, "probe", self.epoch))
        self.order = to_device(order, self.labels.device)

    def state_dict(self) -> dict:
        """Returns weights, optimiser state and progress; tensors are not copied."""
        return {
            "classifier": dict(self.classifier.state_dict()),
            "optimizer": optimizer_state(self.optimizer),
            "step": self.step,
            "epoch_loss": self.epoch_loss,
        }

    def load_state_dict(self, state: dict) -> None:
        """Restores what ``state_dict`` returned, so that training ends with the same bits as without a break."""
        self.classifier.load_state_dict(state["classifier"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.step = state["step"]
        self.epoch_loss = state["epoch_loss"].to(self.labels.device)
        self._begin_epoch()  # rate and order of the running epoch are not stored, but follow from its number
