"""The training of several small networks of one word at once, with the results that each has for itself.

A group has a fixed number of places, and empty ones are filled with copies of its first member. A member's bits are
those of its place in a group of that size, whoever has the other places. They do depend on the place: the last numbers
of an array pass through other instructions than the rest, and round differently. So the place is a part of the job.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor
from torch.func import vmap

from distillation.augment.siamese import apply, draw
from distillation.networks.build import Network, flops
from distillation.networks.grouped import Grouped, groupable, joined
from distillation.runtime.device import autocast
from distillation.runtime.graphs import begin_step, graphed
from distillation.training.loop import Training, optimizer_of
from distillation.training.optimizers import optimizer_state, restore_optimizer, set_rate

_MOST = 10  # house: networks of a group by `auto`; on a CPU ten have 0.9 of the gain of thirty
# house: FLOPs of a network's forward pass over a batch below which starting its operations takes longer than to compute
# them. On a CPU it was measured (docs/benchmarks.md); for GPUs it is counted: 2 GFLOP take 0.1 ms, their 100 kernels 0.5.
_SMALL = {"cpu": 40e6, "cuda": 2e9}


def group_size(choice: int | Literal["auto"], name: str, shape: tuple[int, int, int], batch: int, device: str) -> int:
    """Returns how many networks are trained at once; 1: each for itself.

    It depends on what one network is, never on how many there are, so that the results do not either.

    Args:
        choice: the setting ``compute.group``.
        name: network name.
        shape: channels, pixels of a side, classes.
        batch: images of a step.
        device: the model of the device (``Environment.device``), ``cpu ...`` or that of a GPU.
    """
    if choice == 1 or not groupable(name, *shape):
        return 1
    if choice != "auto":
        return choice
    limit = _SMALL["cpu" if device.startswith("cpu") else "cuda"]
    return _MOST if flops(name, *shape) * batch <= limit else 1


class Group:
    """The training of several networks at once, which can be interrupted and resumed between any two steps.

    Each member is a Training of its own: with its seed, order, augmentation and images. The group takes their steps
    together: their batches pass through one module, and one optimiser changes all weights. Weights and sums of the
    members are views of the group's, so that they can be tested and stored at any time.

    Args:
        members: by place, Trainings at the same step, of networks of one word on one device, with the same settings,
            loss, precision and number of images. The places are numbers from 0 to ``size`` - 1.
        size: the number of networks that compute together.
    """

    def __init__(self, members: Mapping[int, Training], size: int) -> None:
        self.places, self.members = list(members), list(members.values())
        first = self.members[0]
        slots = [members.get(place, first) for place in range(size)]
        self.filling = [self.members.index(member) for member in slots]
        states = [optimizer_state(member.optimizer) for member in slots]
        self.epoch_loss = torch.stack([member.epoch_loss for member in slots])
        self.epoch_hits = torch.stack([member.epoch_hits for member in slots])
        self.network = Grouped([cast("Network", member.network) for member in slots])
        self.forward = graphed(self.network, first.device) if first.compile else self.network
        self.optimizer = optimizer_of(self.network.parameters(), first.settings)
        restore_optimizer(self.optimizer, _joined(states))
        set_rate(self.optimizer, first.optimizer.param_groups[0]["lr"])  # of a running epoch
        self.losses = vmap(first.loss)
        for place, member in members.items():
            self.network.lend(member.network, place)
            member.epoch_loss, member.epoch_hits = self.epoch_loss[place], self.epoch_hits[place]

    @property
    def done(self) -> bool:
        """Whether all epochs are complete."""
        return self.members[0].done

    def advance(self) -> list[tuple[float, float]] | None:
        """Takes one optimiser step of each member.

        Returns:
            None, unless the step completes an epoch; then what ``Training.advance`` returns, of each member.
        """
        first = self.members[0]
        place = first.step % first.steps_per_epoch
        if place == 0:
            self._begin_epoch()
        begin_step(first.device, first.compile)
        images, targets = self._batches(place)
        with autocast(first.device, first.precision):
            logits = self.forward(images)
        loss = self.losses(logits.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        self.optimizer.step()
        self.epoch_loss += loss.detach() * images.shape[1]
        hard = targets if targets.ndim == 2 else targets.argmax(2)
        self.epoch_hits += (logits.detach().argmax(2) == hard).sum(1)
        for member in self.members:
            member.step += 1
        if place + 1 < first.steps_per_epoch:
            return None
        losses, hits = self.epoch_loss.tolist(), self.epoch_hits.tolist()  # the one wait of an epoch
        return [(losses[place] / first.count, 100 * hits[place] / first.count) for place in self.places]

    def _begin_epoch(self) -> None:
        for member in self.members:
            member.set_order()
        self.epoch_loss.zero_()
        self.epoch_hits.zero_()
        self.network.train()
        set_rate(self.optimizer, self.members[0].rate)

    def _batches(self, place: int) -> tuple[Tensor, Tensor]:
        """The augmented batches (G, n, C, S, S) of all places of the group, and their targets (G, n) or (G, n, K)."""
        pairs = [member.batch(place) for member in self.members]
        images, targets = (torch.stack(values) for values in zip(*pairs, strict=True))
        images = self._augmented(images)
        return torch.stack([images[i] for i in self.filling]), torch.stack([targets[i] for i in self.filling])

    def _augmented(self, images: Tensor) -> Tensor:
        """Augments the batches (m, n, C, S, S) of all members as each would augment its own; siamese ones in one call."""
        if not (strategy := self.members[0].siamese):
            return torch.stack([member.augmented(part) for member, part in zip(self.members, images, strict=True)])
        count = images.shape[1]
        drawn = [draw(strategy, 1, count, member.draws("augment", member.step)) for member in self.members]
        operations = torch.cat([number.expand(count) for number, _ in drawn])
        numbers = torch.cat([numbers[0] for _, numbers in drawn])
        return apply(images.flatten(0, 1), strategy, operations, numbers).view_as(images)

    def state_dicts(self) -> list[dict]:
        """Returns what ``Training.state_dict`` returns, of each member."""
        states = optimizer_state(self.optimizer)
        return [
            {
                **member.state_dict(),
                "optimizer": {number: self.network.parts(state, place) for number, state in states.items()},
                "lr": self.optimizer.param_groups[0]["lr"],
            }
            for place, member in zip(self.places, self.members, strict=True)
        ]

    def part(self) -> None:
        """Ends the group: each member goes on for itself, from the same state, or in another group."""
        for member, state in zip(self.members, self.state_dicts(), strict=True):
            for value in member.network.state_dict(keep_vars=True).values():
                value.data = value.data.clone(memory_format=torch.contiguous_format)
            restore_optimizer(member.optimizer, state["optimizer"])
            set_rate(member.optimizer, state["lr"])
            member.epoch_loss, member.epoch_hits = member.epoch_loss.clone(), member.epoch_hits.clone()


def _joined(states: Sequence[dict[int, dict[str, Tensor]]]) -> dict[int, dict[str, Tensor]]:
    """Joins the optimisers' states of all networks: for each parameter, tensors by name, such as its momentum."""
    return {
        number: {name: joined([state[number][name] for state in states]) for name in values}
        for number, values in states[0].items()
    }
