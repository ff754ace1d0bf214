"""One encoded image to 8-bit pixels: decoded in memory, resized and recoloured with PIL."""

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
GREY = ("1", "L", "LA")
COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")


def opened(
    name: object, content: bytes, size: int | None = None, colour: str = "auto", squash: bool = False
) -> Image.Image:
    """Decodes an image to mode L (grey) or RGB.

    Transparency is dropped, and the orientation that a camera noted is ignored, as in torchvision's ImageFolder.

    Args:
        name: the file's name, for messages.
        content: the file's bytes.
        size: pixels of a side: the shorter side is resized to it (Lanczos) and the central square kept. None keeps the
            pixels as they are.
        colour: ``auto`` (as the file is), ``grey`` (ITU-R 601 luma) or ``rgb``.
        squash: resizes each side by itself, which keeps all of an image but not its proportions.

    Raises:
        BadInput: the image does not decode, has too many pixels or 16-bit ones.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:  # pyright: ignore[reportOperatorIssue]  # PIL's limit
                raise BadInput(f"{name} has {image.width}x{image.height} pixels, which only a bomb has: it is refused.")
            if image.mode not in GREY + COLOUR:
                raise BadInput(f"{name} has pixels of kind {image.mode}: images should be grey or RGB with 8 bits.")
            return shaped(image, size, colour, squash)
    except BadInput:
        raise
    except MemoryError:
        raise
    except Exception as error:  # PIL's decoders raise nearly anything on damaged data
        raise BadInput(f"{name} does not decode as an image ({error}): replace or remove it.") from error


def shaped(image: Image.Image, size: int | None, colour: str, squash: bool = False) -> Image.Image:
    """Converts an image to another size and colour; the arguments are those of ``opened``."""
    if colour == "auto":
        colour = "grey" if image.mode in GREY else "rgb"
    image = image.convert("L" if colour == "grey" else "RGB")
    if size is None or image.size == (size, size):
        return image
    if squash:
        return image.resize((size, size), Image.Resampling.LANCZOS)
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def planes(pixels: "np.ndarray") -> "np.ndarray":
    """Rearranges an array (H, W) or (H, W, 3) so that it broadcasts to (C, H, W): grey fills every channel."""
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
