"""What frozen features are worth: a vote among neighbours, and a linear classifier."""

import torch
import torch.nn.functional as F
from torch import nn

from distillation.networks.chunks import in_chunks
from distillation.runtime.device import autocast
from distillation.runtime.random import generator
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate
from distillation.training.schedules import stepped


@torch.no_grad()
def features(network, data, split, precision, chunk=512):
    """Features (N, F) float32 of a Split of the RealSet ``data``, un-augmented; batch norms are left as they are."""
    network.eval()

    def embedded(images):
        encoded = data.encode(images)  # in full precision, as the network was trained
        with autocast(images.device, precision):
            return network.embed(encoded).float()

    return in_chunks(embedded, split.images, chunk)


@torch.no_grad()
def neighbours(known, labels, asked, truth, classes, settings, chunk=512):
    """Percent of the features ``asked`` (M, F) whose nearest of ``known`` (N, F) vote for their class.

    The ``k`` most similar by cosine vote with the weight exp(cosine / temperature) (Wu et al. 2018; MoCo's CIFAR-10 demo).
    """
    known, votes, hits = F.normalize(known, dim=1), F.one_hot(labels, classes).float(), 0
    for part, wanted in zip(F.normalize(asked, dim=1).split(chunk), truth.split(chunk), strict=True):
        near = (part @ known.T).topk(settings.k, dim=1)
        weights = torch.zeros(len(part), len(known), device=part.device)
        weights.scatter_(1, near.indices, (near.values / settings.temperature).exp())
        hits += ((weights @ votes).argmax(1) == wanted).sum()
    return 100 * int(hits) / len(asked)


class Probe:
    """A linear classifier on its way through its epochs on features that stay as they are.

    As MoCo's linear protocol has it: weights from N(0, 0.01²), biases 0, cross-entropy, SGD with steps of decay.

    Args:
        known: (N, F) features. labels: (N,). classes: how many there are.
        settings: ProbeSettings.
        seed: names every draw, with ``name``.
    """

    def __init__(self, known, labels, classes, settings, seed, name):
        self.known, self.labels, self.settings, self.seed, self.name = known, labels, settings, seed, name
        self.classifier = nn.utils.skip_init(nn.Linear, known.shape[1], classes)
        nn.init.normal_(self.classifier.weight, std=0.01, generator=generator(seed, name, "probe"))
        nn.init.zeros_(self.classifier.bias)
        self.classifier.to(known.device)
        self.optimizer = torch.optim.SGD(
            self.classifier.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )
        self.epoch = 0

    @property
    def done(self):
        return self.epoch >= self.settings.epochs

    def advance(self):
        """One epoch, of steps that are small. Returns its mean loss."""
        settings, count = self.settings, len(self.known)
        factor = stepped(self.epoch, settings.epochs, settings.milestones, settings.decay)
        set_rate(self.optimizer, settings.lr * factor)
        total = 0.0
        order = torch.randperm(count, generator=generator(self.seed, self.name, "probe", self.epoch))
        for index in order.to(self.known.device).split(settings.batch):
            loss = F.cross_entropy(self.classifier(self.known[index]), self.labels[index])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(index)
        self.epoch += 1
        return float(total) / count

    def state_dict(self):
        classifier = dict(self.classifier.state_dict())
        return {"classifier": classifier, "optimizer": optimizer_state(self.optimizer), "epoch": self.epoch}

    def load_state_dict(self, state):
        self.classifier.load_state_dict(state["classifier"])
        restore_optimizer(self.optimizer, state["optimizer"])
        self.epoch = state["epoch"]
