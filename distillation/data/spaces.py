"""What stored pixels mean: raw in [0, 1], normalised per channel, or ZCA-whitened; and the way back."""

from dataclasses import dataclass

import torch
from torch import Tensor

PREFIX = "space."


@dataclass(frozen=True, eq=False)
class Space:
    """A reversible map from raw pixels in [0, 1], shape (N, C, H, W), to the numbers that networks are given.

    ``kind`` is ``raw`` (identity), ``normalised`` (tensors ``mean`` and ``std``, each (C,)) or ``whitened`` (tensors
    ``mean`` (D,), ``matrix`` and ``inverse`` (D, D), D = C·H·W).
    """

    kind: str
    tensors: dict

    @classmethod
    def raw(cls):
        return cls("raw", {})

    @classmethod
    def normalised(cls, mean, std):
        return cls("normalised", {"mean": torch.tensor(mean), "std": torch.tensor(std)})

    @classmethod
    def read(cls, kind, tensors):
        """The space that ``packed`` described inside a container."""
        return cls(kind, {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)})

    def packed(self):
        """The tensors under names that a container can hold next to its own."""
        return {PREFIX + name: tensor for name, tensor in self.tensors.items()}

    def to(self, device):
        return Space(self.kind, {name: tensor.to(device) for name, tensor in self.tensors.items()})

    def encode(self, raw: Tensor) -> Tensor:
        """Raw pixels (N, C, H, W) to this space; differentiable."""
        if self.kind == "normalised":
            return (raw - self._channel("mean")) / self._channel("std")
        if self.kind == "whitened":
            return ((raw.flatten(1) - self.tensors["mean"]) @ self.tensors["matrix"]).view_as(raw)
        return raw

    def decode(self, encoded: Tensor) -> Tensor:
        """The way back to raw pixels; differentiable, and not clamped."""
        if self.kind == "normalised":
            return encoded * self._channel("std") + self._channel("mean")
        if self.kind == "whitened":
            return (encoded.flatten(1) @ self.tensors["inverse"] + self.tensors["mean"]).view_as(encoded)
        return encoded

    def black(self):
        """What stands beside images that are cropped, (1, C, 1, 1): black, since published code pads before it normalises.

        None, which means 0: that is black where images are raw; whitened, no number is one pixel's, and 0 is the mean.
        """
        return -self._channel("mean") / self._channel("std") if self.kind == "normalised" else None

    def same(self, other):
        """Whether both spaces are the same map, so that nothing has to be converted."""
        return (
            self.kind == other.kind
            and self.tensors.keys() == other.tensors.keys()
            and all(torch.equal(t.cpu(), other.tensors[n].cpu()) for n, t in self.tensors.items())
        )

    def _channel(self, name):
        return self.tensors[name].view(1, -1, 1, 1)
