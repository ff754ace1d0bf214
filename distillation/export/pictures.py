"""The images of a set as PNGs of 8 bits a value, and what that loses."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distillation.data.stored import EXACT, as_arrays, encoded
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from distillation.data.distilled import DistilledSet


@dataclass(frozen=True)
class Loss:
    """What images lose as PNGs.

    Attributes:
        clipped: the fraction (0 to 1) of values outside [0, 1], which are clipped.
        rounded: the largest change of the other values by rounding, in steps of 1 / 255; 0.5 at most.
    """

    clipped: float
    rounded: float

    def __str__(self) -> str:
        """The loss in a sentence."""
        if not self.clipped and self.rounded < EXACT:
            return "Every value of the images is one of 256: nothing is lost."
        return (
            f"PNG has 8 bits: values are rounded by up to {self.rounded:.2f} of 255 steps, and {100 * self.clipped:.2g} % of "
            "them, beyond black or white, are clipped. The npz is exact."
        )


def pngs(distilled: "DistilledSet") -> tuple[list[bytes], Loss]:
    """Encodes the images of a set as PNG files.

    Returns:
        The bytes of the file of each image, in the order of the set, and the Loss.

    Raises:
        BadInput: the images are neither grey nor RGB.
    """
    if distilled.images.shape[1] not in (1, 3):
        raise BadInput(
            f"the images have {distilled.images.shape[1]} channels, but PNG takes 1 or 3: export them as npz."
        )
    steps = distilled.space.decode(distilled.images) * 255
    whole = steps.round().clamp(0, 255)
    # by more than the rounding of float32, which is no loss
    outside = (steps < -EXACT) | (steps > 255 + EXACT)
    rounded = float((steps - whole).abs().masked_fill(outside, 0).max())
    return [encoded(image, "png") for image in as_arrays(whole)], Loss(float(outside.float().mean()), rounded)
