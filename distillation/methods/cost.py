"""The cost of a method: images through networks, and arithmetic, counted as it runs (``Cost``) or estimated before.

An estimate knows of the dataset only its ``Outline``. Both are arithmetic on numbers of images and operations, so they
are the same on every machine.
"""

from dataclasses import dataclass

from distillation.networks.build import extent, flops


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Images that pass through networks forwards and backwards, and floating-point operations: the same on every machine.

    Costs of parts of a method are added by ``+``.

    Attributes:
        images_forward: images in forward passes; one that passes twice counts twice.
        images_backward: images in backward passes, those of second order included.
        flops: floating-point operations; a multiply-add is 2.
    """

    images_forward: float = 0
    images_backward: float = 0
    flops: float = 0.0

    @classmethod
    def of_passes(cls, flops: float, forward: float, backward: float = 0, second: float = 0) -> "Cost":
        """Returns the Cost of passes through a network whose forward pass of one image takes ``flops``.

        Args:
            flops: floating-point operations of one image's forward pass.
            forward: images in forward passes.
            backward: images in backward passes, each counted as two forward ones: the gradients by inputs and by
                weights.
            second: images in second-order passes, which differentiate a gradient: they go back through a forward and a
                backward pass and are counted as four forward ones.
        """
        passes = forward + 2 * backward + 4 * second
        return cls(images_forward=forward, images_backward=backward + second, flops=passes * flops)

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            images_forward=self.images_forward + other.images_forward,
            images_backward=self.images_backward + other.images_backward,
            flops=self.flops + other.flops,
        )

    def record(self) -> dict[str, float]:
        """Returns ``images_forward``, ``images_backward`` and ``gflop`` (10⁹ operations, to a tenth) for a record."""
        gflop = round(self.flops / 1e9, 1)
        return {"images_forward": self.images_forward, "images_backward": self.images_backward, "gflop": gflop}


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The part of a Problem that is known before any data is read, for ``Method.estimate`` and ``Method.holds``.

    Attributes:
        shape: (channels, size, classes) of the dataset; size is the pixels of a side.
        count: number of training images; 0 where it is unknown before the data is read.
        flip: whether a mirrored image keeps its class.
        teacher: the network name of the first network of ``method.teacher``.
    """

    shape: tuple[int, int, int]
    count: int
    flip: bool
    teacher: str

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.shape[2]

    def weights(self, network: str) -> int:
        """Returns how many learnable numbers the network of that name has."""
        return extent(network, *self.shape)[0]

    def activations(self, network: str) -> int:
        """Returns how many numbers the convolutions and linear layers of that network put out for one image."""
        return extent(network, *self.shape)[1]

    def flops(self, network: str) -> int:
        """Returns the floating-point operations of one image's forward pass through the network of that name."""
        return flops(network, *self.shape)
