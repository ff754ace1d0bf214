"""A distilled set's images written to files of 8 bits a value and read again, in memory.

SRe2L, CDA and SC-DD publish and evaluate images that were saved as JPEG files; other methods keep float32 numbers. With
``relabel.pixels`` (``float``, ``png``, ``jpeg``) students of any set are given either.
"""

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image

from distillation.data.pixels import opened
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from distillation.data.distilled import DistilledSet

Form = Literal["float", "png", "jpeg"]
QUALITY, SUBSAMPLING = 75, "4:2:0"  # of JPEG: the defaults of PIL, by which SRe2L, CDA and SC-DD save their images
EXACT = 1e-2  # house: in steps of 1 / 255, above the rounding of float32 on the way through a space


def as_read(distilled: "DistilledSet", form: Form) -> "DistilledSet":
    """Returns a set with its images as they are after they were saved as files of 8 bits and loaded.

    The images are mapped to raw pixels, clamped to [0, 1], truncated to 8 bits as in the code of SRe2L, CDA and SC-DD,
    written to a file in memory, read from it and mapped to the space again.

    Args:
        distilled: the set; it is not changed.
        form: ``png``, ``jpeg`` (quality 75, colours at half the resolution), or ``float``: the set as it is.

    Returns:
        A set with these images, in the same space; its record also has ``pixels``, the form, and ``image_bytes``, the
        bytes of all files together.

    Raises:
        BadInput: the images are neither grey nor RGB.
    """
    if form == "float":
        return distilled
    if (channels := distilled.images.shape[1]) not in (1, 3):
        raise BadInput(
            f"relabel.pixels is {form}, which takes 1 or 3 channels, but the images have {channels}: set float."
        )
    raw = distilled.space.decode(distilled.images).clamp(0, 1)
    # float32 brings real pixels back just below one of the 256 values, from where truncation would make them one
    # darker: EXACT is added first, so that real images as PNG stay what they are
    files = [encoded(image, form) for image in as_arrays((raw * 255 + EXACT).floor())]
    decoded = torch.stack([_pixels(file, channels) for file in files])
    images = distilled.space.encode(decoded.to(raw.device).float() / 255)
    return replace(
        distilled, images=images, info={**distilled.info, "pixels": form, "image_bytes": sum(map(len, files))}
    )


def encoded(pixels: np.ndarray, form: str) -> bytes:
    """Returns the content of a file with an image (H, W, 1 or 3) uint8, in the form ``png`` or ``jpeg``."""
    grey, content = pixels.shape[2] == 1, io.BytesIO()
    options: dict[str, Any] = {"quality": QUALITY} if form == "jpeg" else {}
    if form == "jpeg" and not grey:
        options["subsampling"] = SUBSAMPLING
    Image.fromarray(np.ascontiguousarray(pixels.squeeze(2) if grey else pixels)).save(content, form, **options)
    return content.getvalue()


def as_arrays(values: "Tensor") -> np.ndarray:
    """Converts whole numbers of 0 to 255 (N, C, H, W) to arrays (N, H, W, C) uint8."""
    return values.byte().permute(0, 2, 3, 1).cpu().numpy()


def _pixels(file: bytes, channels: int) -> "Tensor":
    """Decodes a file to pixels (C, H, W) uint8."""
    pixels = np.asarray(opened("an image of the set", file, colour="grey" if channels == 1 else "rgb"))
    return torch.from_numpy(pixels.copy()).view(*pixels.shape[:2], channels).permute(2, 0, 1)
