"""Guidance by pre-trained models: the losses of CLOM and CLoM (Lu et al.), added to any method's image gradient.

Once per image update one teacher of the pool is drawn; the un-augmented synthetic images pass through it, and ``alpha``
times the gradient of its loss joins the method's own. Three losses (``method.guidance.distance``):

- ``ce``, the teacher's mean cross-entropy: what the official code computes, and what the published alphas belong to
  (CLOM section 3; the code of CLoM under its name ``ce``);
- ``ce_ratio``, the contrastive ratio of CLoM's paper with the cross-entropy as distance, for teachers of the dataset's
  own classes; some 1/C of ``ce`` in size, so that published alphas do not fit it;
- ``cos``, the ratio with the cosine distance of features, for teachers of any classes, or of none.

The real batch of the ratios is drawn uniformly with replacement from the whole training set, un-augmented. Teachers are
in eval mode, as in CLOM's code, which tests them before they guide and leaves them so. CLoM's leaves them in train
mode, which is the same for networks with instance norm or none. With batch norm, train mode makes a teacher's
predictions depend on the batch, and lets every batch change its running statistics.
"""

from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from distillation.methods.base import gradient_of
from distillation.methods.families.distances import DISTANCES, class_sums
from distillation.networks.chunks import in_chunks
from distillation.runtime.device import autocast
from distillation.runtime.errors import BadInput
from distillation.runtime.transfers import to_device

if TYPE_CHECKING:
    from distillation.methods.base import Method, Problem
    from distillation.networks.build import Network
    from distillation.teachers.foreign import Foreign
    from distillation.teachers.pool import Member, Pool

CACHE = 4 << 30  # house: bytes of real features that are cached, little beside a card's memory


class Guidance:
    """Adds the teachers' gradient to ``method.images.grad``; ``driver.updates`` calls it once an update.

    Args:
        problem: the method's Problem; its settings hold alpha and the settings of guidance.
        pool: the guiding Pool, whose members kept at ``method.guidance.epoch`` guide.

    Raises:
        BadInput: the pool does not support the distance, has no member of the epoch, or ``method.alpha`` names other
            networks than the pool.

    Attributes:
        pool: the guiding members.
        distance: ``ce``, ``ce_ratio`` or ``cos``.
        alpha: weight of guidance by network name.
        labels: classes (N,) of the training images, on the CPU.
        cached: the members whose features of the whole training set are kept in memory; none unless the distance is
            ``cos``.
        units: the cached unit features (N, F) by member, filled when a member is first drawn.
    """

    def __init__(self, problem: "Problem", pool: "Pool") -> None:
        self.problem, self.settings = problem, problem.settings
        self.pool = pool = pool.keeping(self.settings.guidance.epoch)
        self.distance = self.settings.guidance.distance
        if self.distance != "cos" and pool.classes != problem.data.classes:
            raise BadInput(
                f"method.guidance.teacher is {pool.info['pool']!r}, whose classes are not those of the dataset: its "
                "cross-entropy means nothing for these labels, but method.guidance.distance cos would do."
            )
        for member in pool.members:
            if self.distance == "cos" and not pool.has_features(member):
                raise BadInput(f"method.guidance.distance is cos, but the teacher {member.word} has no features.")
        alpha, words = self.settings.alpha, set(pool.words)
        self.alpha = alpha if isinstance(alpha, dict) else dict.fromkeys(words, alpha)
        if missing := words ^ self.alpha.keys():
            raise BadInput(
                f"method.alpha has weights for {', '.join(sorted(self.alpha))}, but the pool {pool.info['pool']!r} holds "
                f"{', '.join(sorted(words))}: {sorted(missing)[0]} is on one side only."
            )
        self.labels = problem.data.train.labels.cpu()
        self.cached = self._cached() if self.distance == "cos" else set()
        self.units: dict[Member, Tensor] = {}

    def add_gradient(self, method: "Method", update: int) -> Tensor:
        """Adds the weighted gradient of one drawn teacher to ``method.images.grad``, in place.

        Args:
            method: its ``images``, ``labels`` and ``images.grad`` must be set.
            update: number of the update, which names the draws.

        Returns:
            The teacher's loss (), detached and not multiplied by alpha.

        Raises:
            BadInput: the images have another shape than the teacher takes, and ``method.guidance.adapt`` is false.
        """
        member = self._drawn(update)
        assert method.images is not None and method.labels is not None
        network, real = self.pool.network(member), self._real(member, update)
        gradient, loss = self._gradient(network, method.images, method.labels, real)
        image_gradient = gradient_of(method.images)
        weight = self.alpha[member.word]
        if self.settings.guidance.scale == "relative":
            # the clamp keeps a teacher whose gradient is 0 from making the weight infinite
            weight = weight * image_gradient.norm() / gradient.norm().clamp_min(1e-12)
        image_gradient.add_(gradient * weight)
        return loss

    def _drawn(self, update: int) -> "Member":
        """Returns the Member of an update: a network name is drawn, then one of its members, both uniformly."""
        return self.pool.draw(self.problem.draws("guidance", update))

    def _real(self, member: "Member", update: int) -> tuple[Tensor, ...]:
        """Returns what the distance needs of the real batch, see ``families.distances``.

        That is nothing for ``ce``; the number of real images of each class (C,) for ``ce_ratio``; for ``cos`` also the
        sums of their unit features by class (C, F).
        """
        if self.distance == "ce":
            return ()
        draws = self.problem.draws("guidance batch", update)
        chosen = torch.randint(len(self.labels), (self.settings.guidance.batch,), generator=draws)
        counts = torch.bincount(self.labels[chosen], minlength=self.problem.classes)
        counts = to_device(counts.float(), self.problem.device)
        if self.distance == "ce_ratio":
            return (counts,)
        labels = to_device(self.labels[chosen], self.problem.device)
        return counts, class_sums(self._units(member, chosen), labels, self.problem.classes)

    def _units(self, member: "Member", indices: Tensor) -> Tensor:
        """Returns unit features (n, F) of the training images at ``indices`` (n,), cached if the member is.

        Caching is no approximation: teachers are in eval mode, and real images are not augmented.
        """
        if member not in self.cached:
            return self._embedded(member, indices)
        if member not in self.units:
            self.units[member] = self._embedded(member, torch.arange(len(self.labels)))
        return self.units[member][to_device(indices, self.problem.device)]

    @torch.no_grad()
    def _embedded(self, member: "Member", indices: Tensor) -> Tensor:
        """Computes features (n, F) of training images under a teacher, each divided by its norm."""
        network = self.pool.network(member)
        features = in_chunks(lambda part: self._seen(network, self.problem.real(part)), indices, self.settings.chunk)
        return F.normalize(features)

    def _cached(self) -> "set[Member]":
        """Returns the first members of the pool whose features of the whole training set fit into CACHE together.

        The rule depends on the inputs alone, not on free memory: recomputed features differ in rounding.
        """
        sizes = {word: 4 * len(self.labels) * self.pool.first(word).features_size for word in self.pool.words}
        # members are taken in order, until their features together exceed CACHE
        ends = accumulate(sizes[member.word] for member in self.pool.members)
        return {member for member, end in zip(self.pool.members, ends, strict=True) if end <= CACHE}

    def _gradient(
        self, network: "Network | Foreign", images: Tensor, labels: Tensor, real: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """Computes the loss L = N / D of all images and its gradient, ``method.chunk`` images at a time.

        N and D are the two sums of ``families.distances``. By the quotient rule dL = (dN - L dD) / D, so that chunks
        are exact once L and D of all images are known: unless one chunk holds all images, a first pass without
        gradients computes them. ``ce`` needs no first pass, as its D is the number of images.

        Args:
            network: the teacher.
            images: (N, C, S, S) in the dataset's space.
            labels: (N,).
            real: further arguments of the distance, from ``_real``.

        Returns:
            The gradient (N, C, S, S) and L (), detached.
        """
        parts = [part.requires_grad_() for part in images.detach().split(self.settings.chunk)]
        classes = labels.split(self.settings.chunk)

        def sums(i: int) -> tuple[Tensor, Tensor | int]:
            return DISTANCES[self.distance](self._seen(network, parts[i]), classes[i], *real)

        if len(parts) == 1:
            same, pairs = sums(0)
            loss = same / pairs
            return torch.autograd.grad(loss, parts[0])[0], loss.detach()
        loss, whole = 0.0, len(images)  # for ce: D is constant, and the term with L vanishes
        if self.distance != "ce":
            with torch.no_grad():
                total, whole = map(sum, zip(*map(sums, range(len(parts))), strict=True))
            loss = total / whole
        gradients, total = [], 0.0
        for i, part in enumerate(parts):
            same, pairs = sums(i)
            # the quotient rule: loss and whole are numbers here, same and pairs are differentiated
            gradients.append(torch.autograd.grad((same - loss * pairs) / whole, part)[0])
            total += same.detach()
        return torch.cat(gradients), cast("Tensor", total / whole)

    def _seen(self, network: "Network | Foreign", images: Tensor) -> Tensor:
        """Returns the distance's view of images (n, C, S, S): logits (n, C), or features (n, F)."""
        inputs = self.pool.take(images, self.problem.data.space, self.settings.guidance.adapt)
        with autocast(inputs.device, self.settings.precision):
            return (network.embed if self.distance == "cos" else network)(inputs).float()

    def added_to(self, cost: dict[str, float], method: "Method", updates: int) -> dict[str, float]:
        """Adds the passes through the teachers to the cost of a method, for the record of a shard.

        Nothing is counted as guidance runs: the draws of all updates are taken again here, which also holds after a
        resume.

        Each update passes every image forwards (twice, if a ratio is computed in chunks) and back. With the cosine distance,
        each teacher also passes the training set once, if its features are cached, or else the real batch in each update.

        Args:
            cost: as ``Cost.record`` returns it.
            method: the guided method.
            updates: number of updates that were guided.

        Returns:
            A copy of ``cost`` with larger ``images_forward``, ``images_backward`` and ``gflop``.
        """
        drawn = Counter(self._drawn(update) for update in range(updates))
        assert method.images is not None
        images, real = len(method.images), Counter()
        if self.distance == "cos":
            real = {
                m: len(self.labels) if m in self.cached else n * self.settings.guidance.batch for m, n in drawn.items()
            }
        twice = self.distance != "ce" and images > self.settings.chunk
        forward = {m: (2 if twice else 1) * n * images + real.get(m, 0) for m, n in drawn.items()}
        flops = {m.word: self.pool.flops(m.word) for m in drawn}
        passes = sum((forward[m] + 2 * n * images) * flops[m.word] for m, n in drawn.items())
        return {
            **cost,
            "images_forward": cost["images_forward"] + sum(forward.values()),
            "images_backward": cost["images_backward"] + updates * images,
            "gflop": round(cost["gflop"] + passes / 1e9, 1),
        }
