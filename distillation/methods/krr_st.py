"""KRR-ST: images and target vectors learnt without labels, for pre-training (Lee et al., ICLR 2024, arXiv 2310.06511).

A network trained on the synthetic images X by plain regression to their targets Y should answer real images x as a
self-supervised target model g does. The network's body φ is one of a pool of partly trained ones, and only its last linear
layer is fitted, in closed form (see ``shared.ridge``):

    L(X, Y) = mean (K_xX (K_XX + λ I)^-1 Y - g(x))²

An update draws a network of the pool, in eval mode, and a batch of real images, moves X and Y by AdamW at a rate that
falls linearly, and then trains that network for one step on all of the new X and Y, or replaces it by a fresh one once it
has had ``pool_steps``. Before the first update network l learns from the initial set for T_l ~ U{1 ... pool_steps - 1} steps.

As in the official code, and unlike in the paper's text where they differ:

- X are raw pixels that networks are given as they are, while real images are normalised; g sees both normalised.
- λ is relative to the trace of K_XX, not, as in FRePo and KIP, to its mean diagonal.
- ``pool_reset`` published: the count of a network's steps is never set back, so that from the first time it is full, each
  draw of that network makes it anew. All are full after some 10,000 updates; from there on the kernel is that of random
  networks whose batch norms saw nothing. ``corrected`` counts from 0 again.
- ``crop_flip`` augments real images (the code as published); without it, as in its first upload, g's answers to
  all real images are found once and kept where they fit into ``CACHE``.

No label of the source is read.
"""

import math
from functools import partial
from typing import Literal

import torch
from pydantic import Field

from distillation.augment.standard import crop_flip
from distillation.data.distilled import DistilledSet
from distillation.data.indexed import indices_on
from distillation.data.spaces import Space
from distillation.methods.base import Method, StepResult
from distillation.methods.families.regressor import Regressor
from distillation.methods.families.ridge import answers
from distillation.networks.build import build, flops
from distillation.params import Section
from distillation.runtime.device import autocast, compiled
from distillation.runtime.errors import BadInput

PAD = 4  # pixels around a real image before it is cropped
LAST = 0.001  # the learning rate at the end, relative to the first
CACHE = 4 << 30  # bytes of g's answers that are kept


class Settings(Section):
    """``images`` synthetic images, or ``method.ipc`` times the number of classes where it is None; ``ridge`` as in
    ``shared.ridge``. The networks of the ``pool`` learn by SGD with ``pool_lr``, ``pool_momentum``, ``pool_decay``.
    """

    images: int | None = Field(ge=1)
    iterations: int = Field(ge=1)
    lr: float = Field(gt=0)
    batch_real: int = Field(ge=1)
    crop_flip: bool
    ridge: float = Field(ge=0)
    pool: int = Field(ge=1)
    pool_steps: int = Field(ge=2)
    pool_reset: Literal["published", "corrected"]
    pool_lr: float = Field(gt=0)
    pool_momentum: float = Field(ge=0, lt=1)
    pool_decay: float = Field(ge=0)


class KRRST(Method):
    matches_features = True
    kind = "features"

    def __init__(self, problem, settings):
        super().__init__(problem, settings)
        fast = compiled if problem.settings.compile else lambda function: function
        self.embed, self.answer = fast(_embed), fast(_answer)
        self.ask = fast(_target_model(problem.teachers).embed)
        self.count = len(problem.data.train)
        self.images, self.targets = self._initial()
        self.optimizer = torch.optim.AdamW([self.images, self.targets], settings.lr, weight_decay=0.0)
        self.learnt = 0
        self.pool = [self._regressor(place) for place in range(settings.pool)]
        draws = problem.draws("pool steps")
        self.starts = torch.randint(1, settings.pool_steps, (settings.pool,), generator=draws).tolist()
        keeps = not settings.crop_flip and 4 * self.count * self.targets.shape[1] <= CACHE
        self.known = torch.zeros(self.count, self.targets.shape[1], device=problem.device) if keeps else None
        self.asking = math.ceil(self.count / settings.batch_real) if keeps else 0
        self.before = self.asking + sum(self.starts)
        self.total = self.before + settings.iterations

    @property
    def updates(self):
        return self.settings.iterations

    def advance(self):
        unit, self.at = self.at, self.at + 1
        if unit < self.asking:
            index = torch.arange(self.count)[self._span(unit)]
            self.known[self._span(unit)] = self._asked(self.problem.real(index))
            return StepResult(image_grad_ready=False)
        if unit < self.before:
            self._learn(next(r for r, start in zip(self.pool, self.starts, strict=True) if r.steps < start))
            return StepResult(image_grad_ready=False)
        return self._match(unit - self.before)

    def _match(self, update):
        """The gradients of the images and their targets at an update."""
        embed = partial(self.embed, self._drawn(update).network.eval())
        real, wanted = self._real(update)
        with torch.no_grad():
            real = self._features(embed, real)
        said = answers(self._features(embed, self.images), self.targets, real, self.settings.ridge)
        loss = (said - wanted).square().mean()
        self.images.grad, self.targets.grad = torch.autograd.grad(loss, (self.images, self.targets))
        return StepResult(image_grad_ready=True, metrics={"loss": loss.detach()})

    def apply(self):
        update = self.at - self.before - 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * (1 - (1 - LAST) * update / self.settings.iterations)
        self.optimizer.step()
        regressor = self._drawn(update)
        if regressor.steps < self.settings.pool_steps:
            self._learn(regressor)
            return
        regressor.renew(self.problem.draws("renewed", update))
        if self.settings.pool_reset == "corrected":
            regressor.steps = 0

    def _learn(self, regressor):
        regressor.learn(self.images, self.targets)
        self.learnt += 1

    def _drawn(self, update):
        return self.pool[int(torch.randint(len(self.pool), (1,), generator=self.problem.draws("network", update)))]

    def _real(self, update):
        """Real images (n, C, S, S) in the dataset's space, and what the target model says of them (n, D)."""
        data, draws = self.problem.data, self.problem.draws
        epoch, place = divmod(update, math.ceil(self.count / self.settings.batch_real))
        index = torch.randperm(self.count, generator=draws("order", epoch))[self._span(place)]
        images = self._raw(index)
        if self.settings.crop_flip:
            images = crop_flip(images, draws("augment", update), data.info["flip"], PAD)
        images = data.space.encode(images)
        return images, self._asked(images) if self.known is None else self.known[index.to(self.known.device)]

    def _span(self, place):
        return slice(place * self.settings.batch_real, (place + 1) * self.settings.batch_real)

    def _raw(self, index):
        images = self.problem.data.train.images
        return images[index.to(indices_on(images))].float() / 255

    @torch.no_grad()
    def _asked(self, images):
        """The target model's features (n, D) of images in the dataset's space."""
        return self._features(self.ask, self.problem.to_teacher(images, self.problem.teachers))

    def _features(self, embed, images):
        with autocast(images.device, self.problem.settings.precision):
            return torch.cat([embed(part) for part in images.split(self.problem.settings.chunk)]).float()

    def _initial(self):
        """Raw images (M, C, S, S), real ones or noise, and the target model's features of them (M, D)."""
        problem, data = self.problem, self.problem.data
        count = self.settings.images or problem.settings.ipc * problem.classes
        if problem.settings.init == "noise":
            noise = torch.randn((count, *data.train.images.shape[1:]), generator=problem.draws("init"))
            images = data.space.decode(noise.to(problem.device))
        else:
            if count > self.count:
                raise BadInput(f"method.krr_st.images asks for {count} images, but the dataset has {self.count}.")
            images = self._raw(torch.randperm(self.count, generator=problem.draws("init"))[:count])
        return images.requires_grad_(), self._asked(data.space.encode(images.detach())).requires_grad_()

    def _regressor(self, place):
        """A fresh network of the pool, with as many outputs as the target model has features."""
        common, settings, width = self.problem.settings, self.settings, self.targets.shape[1]
        network = build(common.network, *self.problem.data.shape[:2], width, self.problem.draws("pool", place))
        network = network.to(self.problem.device)
        how = {"momentum": settings.pool_momentum, "weight_decay": settings.pool_decay, "foreach": True}
        optimizer = torch.optim.SGD(network.parameters(), settings.pool_lr, **how)
        return Regressor(network, self.answer, optimizer, common.precision)

    def result(self):
        if not self.targets.isfinite().all():
            raise BadInput("krr_st ended with targets that are not finite: a smaller method.krr_st.lr is wanted.")
        problem = self.problem
        info = {
            "labels": self.kind,
            "feed": "stored",
            "method": problem.settings.name,
            "ipc": problem.settings.ipc,
            "seed": problem.settings.seed,
            "classes": problem.data.classes,
            "dataset": problem.data.info["name"],
            "teacher": problem.teachers.info["pool"],
        }
        return DistilledSet(self.images.detach(), None, self.targets.detach(), Space.raw(), info)

    def state_dict(self):
        return {
            "at": self.at,
            "images": self.images.detach(),
            "targets": self.targets.detach(),
            "optimizer": self.optimizer.state_dict()["state"],
            "pool": [regressor.state_dict() for regressor in self.pool],
            "learnt": self.learnt,
            "known": self.known,
        }

    def load_state_dict(self, state):
        self.at, self.learnt = state["at"], state["learnt"]
        self.known = state["known"] if state["known"] is None else state["known"].to(self.problem.device)
        self.images.data.copy_(state["images"])
        self.targets.data.copy_(state["targets"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state["optimizer"]})
        for regressor, kept in zip(self.pool, state["pool"], strict=True):
            regressor.load_state_dict(kept)

    def cost(self):
        updates, batch = max(0, self.at - self.before), self.settings.batch_real
        epochs, places = divmod(updates, math.ceil(self.count / batch))
        real = epochs * self.count + places * batch
        asked = len(self.images) + (real if self.known is None else min(self.at * batch, self.count))
        moved = len(self.images) * (updates + self.learnt)
        ours = flops(self.problem.settings.network, *self.problem.data.shape[:2], self.targets.shape[1])
        pool = self.problem.teachers
        theirs = pool.flops(pool.members[0].word)
        return {
            "images_forward": real + asked + moved,
            "images_backward": moved,
            "gflop": round(((real + 3 * moved) * ours + asked * theirs) / 1e9, 1),
        }


def _embed(network, images):
    return network.embed(images)


def _answer(network, images):
    return network(images)


def _target_model(pool):
    """The first network of ``method.teacher``."""
    if not pool.has_features(pool.members[0]):
        raise BadInput(f"method.teacher is {pool.info['pool']!r}, whose {pool.members[0].word} has no features.")
    return pool.network(pool.members[0])


METHOD = KRRST
