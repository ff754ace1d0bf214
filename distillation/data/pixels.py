"""One encoded image to 8-bit pixels: decoded in memory, resized and recoloured with PIL."""

import io

from PIL import Image, ImageOps

from distillation.runtime.errors import BadInput

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
GREY = ("1", "L", "LA")
COLOUR = ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr")


def opened(name, content, size=None, colour="auto", squash=False):
    """The picture in the bytes ``content`` of the file ``name``: of mode L where it is grey, RGB where it is coloured.

    Args:
        size: pixels of a side: the shorter side is resized to it (Lanczos) and the middle square kept. None keeps the
            pixels as they are.
        colour: ``auto`` (as the file is), ``grey`` (ITU-R 601 luma) or ``rgb``. Transparency is dropped, and a
            camera's note of how it was held is not followed, as in torchvision's ImageFolder.
        squash: resize each side by itself, which keeps all of an image and not its proportions.

    Raises:
        BadInput: it does not decode, has too many pixels or 16-bit ones.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise BadInput(f"{name} has {image.width}x{image.height} pixels, which only a bomb has: it is refused.")
            if image.mode not in GREY + COLOUR:
                raise BadInput(f"{name} has pixels of kind {image.mode}: images should be grey or RGB with 8 bits.")
            return shaped(image, size, colour, squash)
    except BadInput:
        raise
    except MemoryError:
        raise
    except Exception as error:  # PIL's decoders raise nearly anything on broken data
        raise BadInput(f"{name} does not decode as an image ({error}): replace or remove it.") from error


def shaped(image, size, colour, squash=False):
    """A picture of another size and colour, as ``opened`` would have made it."""
    if colour == "auto":
        colour = "grey" if image.mode in GREY else "rgb"
    image = image.convert("L" if colour == "grey" else "RGB")
    if size is None or image.size == (size, size):
        return image
    if squash:
        return image.resize((size, size), Image.Resampling.LANCZOS)
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def planes(pixels):
    """An array (H, W) or (H, W, 3) as one that fills (C, H, W): grey fills every channel."""
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
