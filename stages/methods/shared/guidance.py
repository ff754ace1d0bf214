"""Guidance by pre-trained models: the classification loss of CLOM, added to any method's image gradient.

Once per image update one teacher of the pool is drawn; the un-augmented synthetic images pass through it, and ``alpha``
times the gradient of its mean cross-entropy joins the method's own. That is what the official code computes, and what
the published alphas belong to (CLOM section 3; CLoM README, distance ``ce``).
"""

import torch
import torch.nn.functional as F

from stages.networks.build import flops
from stages.runtime.device import autocast
from stages.runtime.errors import BadInput


class Guidance:
    """Adds the teachers' gradient to ``method.images.grad``.

    Raises:
        BadInput: the pool knows other classes, or ``method.alpha`` names a network that the pool lacks.
    """

    def __init__(self, problem, pool):
        self.problem, self.pool = problem, pool
        self.settings = problem.settings
        if pool.classes != problem.data.classes:
            raise BadInput(
                f"method.guidance.teacher is {pool.info['pool']!r}, whose classes are not those of the dataset: its "
                "cross-entropy means nothing for these labels."
            )
        alpha = self.settings.alpha
        words = {member.word for member in pool.members}
        self.alpha = alpha if isinstance(alpha, dict) else dict.fromkeys(words, alpha)
        if missing := words ^ self.alpha.keys():
            raise BadInput(
                f"method.alpha has weights for {', '.join(sorted(self.alpha))}, but the pool {pool.info['pool']!r} holds "
                f"{', '.join(sorted(words))}: {sorted(missing)[0]} is on one side only."
            )

    def add_gradient(self, method, update):
        """Add the gradient of one drawn teacher at the given update; returns its cross-entropy."""
        member = self.pool.draw(self.problem.draws("guidance", update))
        gradient, loss = self._gradient(self.pool.network(member), method.images, method.labels)
        weight = self.alpha[member.word]
        if self.settings.guidance.scale == "relative":
            weight *= float(method.images.grad.norm() / gradient.norm().clamp_min(1e-12))
        method.images.grad.add_(gradient, alpha=weight)
        return loss

    def _gradient(self, network, images, labels):
        """Gradient and value of the mean cross-entropy, in chunks that leave it exact."""
        gradients, total = [], 0.0
        for part, wanted in zip(
            images.detach().split(self.settings.chunk), labels.split(self.settings.chunk), strict=True
        ):
            part.requires_grad_()
            given = self.problem.to_teacher(part, self.pool)
            with autocast(part.device, self.settings.precision):
                logits = network(given)
            loss = F.cross_entropy(logits.float(), wanted, reduction="sum") / len(images)
            gradients.append(torch.autograd.grad(loss, part)[0])
            total += float(loss.detach())
        return torch.cat(gradients), total

    def added_to(self, cost, method, updates):
        """The method's cost with the passes through the teachers: each update passes every image forwards and back."""
        images = updates * len(method.images)
        words = {member.word for member in self.pool.members}
        mean = sum(flops(word, *self.pool.shape) for word in words) / len(words)
        return {
            **cost,
            "images_forward": cost["images_forward"] + images,
            "images_backward": cost["images_backward"] + images,
            "gflop": round(cost["gflop"] + 3 * images * mean / 1e9, 1),
        }
