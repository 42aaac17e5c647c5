"""Pictures (PNG, JPEG, ...) to grey uint8 pixels."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fer_keras.data.problems import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 50_000_000
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def is_picture(path):
    """Tell whether a path has a picture's name; hidden files (`._1.jpg`) do not count."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def decode(content, image_size=None):
    """Return one picture as grey uint8 pixels `(height, width)`.

    Colour becomes grey by ITU-R 601 luma, an orientation noted by the camera is applied, and the picture is resized to
    `image_size` without regard to its proportions. A grey picture of the right size comes back pixel by pixel.

    Args:
        content: the bytes of the file, or its path.
        image_size: `(height, width)` to resize to; None keeps the size.

    Raises:
        DataError: if it is no picture, is cut short, holds more than 8 bits a channel, or is absurdly large.
    """
    try:
        with no_bombs(), Image.open(io.BytesIO(content) if isinstance(content, bytes) else Path(content)) as picture:
            refuse(picture)
            if picture.format != "PNG" or picture.mode != "L":  # the grey PNG of a data set has no camera behind it
                picture = ImageOps.exif_transpose(picture).convert("L")
            if image_size and picture.size != tuple(image_size)[::-1]:
                picture = picture.resize(tuple(image_size)[::-1], Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, *BOMBS) as error:
        raise DataError(f"Expected a whole picture (PNG, JPEG, ...). Received: {str(error)[:120]}.") from error


@contextlib.contextmanager
def no_bombs():
    """Turn Pillow's warning of a picture far larger than its file into an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def refuse(picture):
    """Raise a `DataError` for a picture that should not be turned into 8-bit grey, before its pixels are decoded."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise DataError(f"Expected a picture of at most {MAX_PIXELS:,} pixels. Received: {width}x{height}.")
    if picture.mode.startswith(("I", "F")):
        raise DataError(f"Expected a picture of 8 bits a channel. Received: one of mode {picture.mode!r}.")
