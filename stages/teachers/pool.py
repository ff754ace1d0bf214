"""A trained pool: one file with all weights, and who they are."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from stages.containers.spaces import Space
from stages.networks.build import build
from stages.runtime import tensors
from stages.runtime.generators import generator

FILE, RECORD = "teachers.safetensors", "pool.json"


@dataclass(frozen=True)
class Member:
    """One set of weights: the ``index``-th network ``word``, at the epoch kept as ``kept``; test accuracy in percent."""

    word: str
    index: int
    kept: str
    epoch: int
    accuracy: float


class Pool:
    """The teachers of ``models/teachers/<pool>``, loaded one at a time.

    ``shape`` is (channels, size, classes) and ``space`` the space of what they are given; ``classes`` their names.
    """

    def __init__(self, folder, device="cpu"):
        self.folder, self.device = Path(folder), device
        with tensors.opened(self.folder / FILE) as view:
            self.info = view.info
            self.space = Space.read(self.info["space"], {n: view.get(n) for n in view.names if n.startswith("space.")})
        self.space = self.space.to(device)
        self.classes = self.info["classes"]
        self.shape = tuple(self.info["shape"])
        self.members = [
            Member(entry["network"], entry["index"], kept["name"], kept["epoch"], kept["accuracy"])
            for entry in self.info["networks"]
            for kept in entry["kept"]
        ]
        self.network = lru_cache(maxsize=None)(self._network)

    def draw(self, draws):
        """A Member: its network word uniform over the words, then uniform over that word's members."""
        words = list(dict.fromkeys(member.word for member in self.members))
        word = words[int(torch.randint(len(words), (1,), generator=draws))]
        among = [member for member in self.members if member.word == word]
        return among[int(torch.randint(len(among), (1,), generator=draws))]

    def _network(self, member):
        """The frozen network of a Member, in eval mode, on the pool's device."""
        network = build(member.word, *self.shape, generator(0, "replaced"))
        prefix = f"{member.word}/{member.index}/{member.kept}/"
        with tensors.opened(self.folder / FILE) as view:
            weights = {n.removeprefix(prefix): view.get(n) for n in view.names if n.startswith(prefix)}
        network.load_state_dict(weights)
        return network.eval().requires_grad_(False).to(self.device)
