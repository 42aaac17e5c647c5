"""Photographs of any kind, from anywhere, as upright RGB pixels."""

import io
import os

import numpy as np
from PIL import Image

from fer_keras.data.dataset import DataError
from fer_keras.data.images import UNSAFE, on_black, open_picture, orientation, refuse_huge, sound, upright

SOURCES = "the path of a picture, its bytes, an open file, a PIL image or an array"
ARRAYS = "an array of uint8 or uint16, (height, width) or (height, width, 1 to 4), with pixels"
LARGEST_16 = 2**16 - 1
# Where a large JPEG is read at a part of its size, its longer side keeps so many pixels: the smallest face that a
# detector is asked for then still has more of them than a network takes.
ENOUGH_SIDE = 1920


def read_photo(source):
    """Return a photograph as upright RGB pixels.

    An orientation noted by the camera is applied, what is transparent lies on black, 16 bits a channel become 8, and
    of what moves the first frame is taken.

    Args:
        source: the path of a picture, its bytes, an open file, a PIL image, or an array of uint8 or uint16,
            `(height, width)` or `(height, width, channels)`: grey, grey and alpha, RGB or RGBA.

    Returns:
        A uint8 array `(height, width, 3)`.

    Raises:
        DataError: if it is no picture, empty, cut short, absurdly large, or its values have no known range.

    Example:

    >>> read_photo(np.zeros((48, 64), np.uint16)).shape
    (48, 64, 3)
    """
    return read(source)[0]


def read_reduced(source):
    """Return a photograph as `read_photo` does, but a large JPEG at a half, a quarter or an eighth of its size.

    That takes less time and memory, and still shows all that detectors and networks look at.

    Returns:
        A uint8 array `(height, width, 3)`, and the upright `(height, width)` of the picture at its full size.
    """
    return read(source, reduced=True)


def read(source, *, reduced=False):
    """Return the pixels of a photograph, and its full size."""
    if isinstance(source, np.ndarray):
        rgb = from_array(source)
        return rgb, rgb.shape[:2]
    if isinstance(source, Image.Image):
        with sound():
            rgb = as_rgb(source)
        return rgb, rgb.shape[:2]
    if isinstance(source, bytes | bytearray | memoryview):
        return from_file(io.BytesIO(source), reduced)
    if hasattr(source, "read"):
        return from_file(source, reduced)
    if not isinstance(source, str | os.PathLike):
        raise DataError(f"Expected {SOURCES}. Received: {type(source).__name__}.")
    if not os.path.isfile(source):
        found = "a folder" if os.path.isdir(source) else "no such file"
        raise DataError(f"{os.fspath(source)}: Expected the path of a picture. Received: {found}.")
    try:
        return from_file(source, reduced)
    except DataError as error:
        raise DataError(f"{os.fspath(source)}: {error}") from error


def from_file(file, reduced):
    """Return the pixels of a picture in a file, and its full size."""
    with sound(), open_picture(file) as picture:
        width, height = picture.size
        if reduced:
            picture.draft(None, tuple(-(-side * ENOUGH_SIDE // max(width, height)) for side in (width, height)))
        rgb = as_rgb(picture)
        return rgb, (height, width) if orientation(picture) < 5 else (width, height)


def as_rgb(picture):
    """Return a PIL image as upright RGB pixels."""
    refuse_huge(picture)
    if picture.format in UNSAFE:
        raise DataError(f"Expected a picture of pixels (PNG, JPEG, ...). Received: one of format {picture.format}.")
    picture = upright(picture)
    if picture.mode.startswith(("I", "F")):
        picture = Image.fromarray(eight_bits(np.asarray(picture)))
    return np.array(on_black(picture).convert("RGB"))


def from_array(array):
    """Return an array as RGB pixels; one of RGB pixels is not copied."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or not 1 <= channels <= 4 or not array.size or array.dtype.kind != "u":
        raise DataError(f"Expected {ARRAYS}. Received: {array.dtype}, shape {array.shape}.")
    pixels = array if array.dtype == np.uint8 else eight_bits(array)
    if channels == 3:
        return np.ascontiguousarray(pixels)
    return as_rgb(Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)))


def eight_bits(values):
    """Return values of 16 bits as uint8; a `DataError` if they are outside [0, 65535] or fractions."""
    if values.dtype.kind not in "ui" or values.min() < 0 or values.max() > LARGEST_16:
        raise DataError(
            f"Expected values of 8 or 16 bits. Received: {values.dtype}, {values.min():g} to {values.max():g}. "
            "Scale them to [0, 255] and convert them to uint8."
        )
    return ((values.astype(np.uint32) * 255 + LARGEST_16 // 2) // LARGEST_16).astype(np.uint8)
