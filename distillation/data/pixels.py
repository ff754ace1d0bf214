"""One encoded image to 8-bit pixels: decoded in memory, resized and recoloured with PIL."""

import io
import re
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from distillation.data.faults import Faulty, printable
from distillation.runtime.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
GREY = ("1", "L", "LA")
COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")


def opened(
    name: object, content: bytes, size: int | None = None, colour: str = "auto", squash: bool = False
) -> Image.Image:
    """Decodes an image as ``decoded`` does, where one faulty image ends the work (Faulty becomes BadInput).

    Args:
        name: the file's name, for messages.
        content: as in ``decoded``.
        size: as in ``decoded``.
        colour: as in ``decoded``.
        squash: as in ``decoded``.

    Returns:
        The image, of mode L (grey) or RGB.

    Raises:
        BadInput: the image does not decode, has too many pixels or 16-bit ones.
    """
    try:
        return decoded(content, size, colour, squash)
    except Faulty as fault:
        raise BadInput(f"{printable(str(name))} {fault}: replace or remove it.") from fault


def decoded(content: bytes, size: int | None = None, colour: str = "auto", squash: bool = False) -> Image.Image:
    """Decodes the bytes of an image file to 8-bit pixels, grey or RGB, and resizes it to a square.

    Transparency is dropped, and the orientation that a camera noted is ignored, as in torchvision's ImageFolder.

    Args:
        content: the file's bytes, in one of ``FORMATS``.
        size: pixels of a side of the square; None keeps height and width as they are.
        colour: ``auto`` (grey if the file is, else RGB), ``grey`` (ITU-R 601 luma) or ``rgb``.
        squash: how an image that is no square becomes one. False: the central square is cut out and resized. True:
            height and width are resized apart, which keeps all of an image but not its proportions. Both with Lanczos'
            filter.

    Returns:
        The image, of mode L (grey) or RGB.

    Raises:
        Faulty: the image does not decode, has too many pixels or 16-bit ones.
    """
    if not content:
        raise Faulty("does not decode as an image (it is empty)")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:  # pyright: ignore[reportOperatorIssue]  # PIL's limit
                raise Faulty(f"has {image.width}x{image.height} pixels, which only a bomb has")
            if image.mode not in GREY + COLOUR:
                raise Faulty(f"has pixels of kind {image.mode}, where images should be grey or RGB with 8 bits")
            return shaped(image, size, colour, squash)
    except (Faulty, MemoryError):
        raise
    except Exception as error:  # PIL's decoders raise nearly anything on damaged data
        raise Faulty(f"does not decode as an image ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """The message of a decoder in one line, without the object that stands for the file in it."""
    return " ".join(re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "", str(error)).split()) or type(error).__name__


def shaped(image: Image.Image, size: int | None, colour: str, squash: bool = False) -> Image.Image:
    """Converts an open image to another size and colour, mode L or RGB; the arguments are those of ``decoded``."""
    if colour == "auto":
        colour = "grey" if image.mode in GREY else "rgb"
    image = image.convert("L" if colour == "grey" else "RGB")
    if size is None or image.size == (size, size):
        return image
    if squash:
        return image.resize((size, size), Image.Resampling.LANCZOS)
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def planes(pixels: "np.ndarray") -> "np.ndarray":
    """Rearranges pixels (H, W, 3) to (3, H, W); grey ones (H, W) stay, as they broadcast to every channel."""
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
