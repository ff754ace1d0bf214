"""Spaces: what the numbers of stored images mean, and the maps between them and raw pixels.

Networks do not take raw pixels but normalised (or ZCA-whitened) ones, and distilled images are optimised as such
numbers. The Space stored with each set says how to get raw pixels back, to show images or to give them to other
networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

PREFIX = "space."


@dataclass(frozen=True, eq=False)
class Space:
    """An invertible map from raw pixels in [0, 1], (N, C, H, W), to the networks' inputs.

    ``normalised`` maps a pixel x of a channel to (x - mean) / std. ``whitened`` (ZCA) maps a flattened image x to
    (x - mean) · matrix, so that all its numbers are nearly uncorrelated over the training images; ``inverse`` maps
    back.

    Attributes:
        kind: ``raw`` (identity), ``normalised`` or ``whitened``.
        tensors: float32 by name: of ``raw`` none; of ``normalised`` the ``mean`` and ``std``, (C,) each, of pixels in
            [0, 1]; of ``whitened`` the ``mean`` (D,), ``matrix`` and ``inverse`` (D, D), D = C·H·W.
    """

    kind: str
    tensors: dict[str, Tensor]

    @classmethod
    def raw(cls) -> Self:
        """The identity."""
        return cls("raw", {})

    @classmethod
    def normalised(cls, mean: Sequence[float], std: Sequence[float]) -> Self:
        """The normalisation by the mean and std (C numbers each) of each channel of pixels in [0, 1]."""
        return cls("normalised", {"mean": torch.tensor(mean), "std": torch.tensor(std)})

    @classmethod
    def read(cls, kind: str, tensors: Mapping[str, Tensor]) -> Self:
        """Restores a space from a file's tensors: those of ``packed`` among them, and the kind in the file's record."""
        return cls(kind, {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)})

    def packed(self) -> dict[str, Tensor]:
        """Returns the space's tensors for a file that holds others too, under names that begin with ``PREFIX``."""
        return {PREFIX + name: tensor for name, tensor in self.tensors.items()}

    def to(self, device: torch.device | str) -> "Space":
        """The same space on ``device``."""
        return Space(self.kind, {name: tensor.to(device) for name, tensor in self.tensors.items()})

    def encode(self, raw: Tensor) -> Tensor:
        """Maps raw pixels (N, C, H, W) to this space; differentiable."""
        if self.kind == "normalised":
            return (raw - self._channel("mean")) / self._channel("std")
        if self.kind == "whitened":
            return ((raw.flatten(1) - self.tensors["mean"]) @ self.tensors["matrix"]).view_as(raw)
        return raw

    def decode(self, encoded: Tensor) -> Tensor:
        """Maps numbers of this space (N, C, H, W) back to raw pixels; differentiable, and not clamped."""
        # not clamped: optimised pixels may leave [0, 1], and a clamp would stop their gradient and lose them
        if self.kind == "normalised":
            return encoded * self._channel("std") + self._channel("mean")
        if self.kind == "whitened":
            return (encoded.flatten(1) @ self.tensors["inverse"] + self.tensors["mean"]).view_as(encoded)
        return encoded

    def pad_value(self) -> Tensor | None:
        """The value by which random crops pad images of this space.

        Returns:
            Of a normalised space black, (1, C, 1, 1): published code pads raw images with 0 before it normalises them.
            None, for which crops pad with 0, of the others: 0 is black in raw images; in whitened ones, where no
            number belongs to one pixel, it is the mean.
        """
        return -self._channel("mean") / self._channel("std") if self.kind == "normalised" else None

    def same(self, other: "Space") -> bool:
        """Whether both spaces are the same map: kinds and all numbers are equal, so that images need no conversion."""
        return (
            self.kind == other.kind
            and self.tensors.keys() == other.tensors.keys()
            and all(torch.equal(t.cpu(), other.tensors[n].cpu()) for n, t in self.tensors.items())
        )

    def _channel(self, name: str) -> Tensor:
        """The tensor ``name`` (C,) as (1, C, 1, 1)."""
        return self.tensors[name].view(1, -1, 1, 1)
