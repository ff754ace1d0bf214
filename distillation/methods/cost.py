"""The cost of a method: images through networks, and arithmetic, counted while it runs or estimated before."""

from dataclasses import dataclass

from distillation.networks.build import extent, flops


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Images that pass through networks forwards and backwards, and floating-point operations: the same on every machine.

    Attributes:
        images_forward: images in forward passes.
        images_backward: images in backward passes.
        flops: floating-point operations.
    """

    images_forward: float = 0
    images_backward: float = 0
    flops: float = 0.0

    @classmethod
    def of_passes(cls, flops: float, forward: float, backward: float = 0, second: float = 0) -> "Cost":
        """Returns the Cost of passes through a network whose forward pass of one image takes ``flops``.

        Args:
            flops: floating-point operations.
            forward: images in forward passes.
            backward: images in backward passes, each of about two forward ones.
            second: images in second-order passes, through a pass forwards and backwards, each of about four forward ones.
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
    """The part of a Problem that is known before any data is read.

    Attributes:
        shape: (channels, size, classes) of the images.
        count: number of training images.
        flip: whether a mirrored image keeps its class.
        teacher: the name of the first network of ``method.teacher``.
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
        """Returns the learnable numbers of the network of that name."""
        return extent(network, *self.shape)[0]

    def activations(self, network: str) -> int:
        """Returns the numbers that its layers put out for one image."""
        return extent(network, *self.shape)[1]

    def flops(self, network: str) -> int:
        """Returns the floating-point operations of one image's forward pass through the network of that name."""
        return flops(network, *self.shape)
