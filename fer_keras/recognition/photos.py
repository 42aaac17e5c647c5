"""Photographs of any kind, from anywhere, as upright RGB pixels."""

import base64
import contextlib
import io
import os
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import jpeg_factory

from fer_keras.data import images
from fer_keras.data.dataset import DataError
from fer_keras.paths import describe
from fer_keras.recognition.detectors import WIDE, say_once

# Of a large JPEG's longer side: the smallest face a detector is asked for still has more pixels than a network takes.
ENOUGH_SIDE = 1920
MAX_JPEG_PIXELS = 256_000_000
LONGEST_PATH = 300  # that an error repeats


class Photo(NamedTuple):
    """Upright RGB pixels, `(height, width)` of the picture before a JPEG was reduced, and its ICC profile if of RGB."""

    rgb: np.ndarray
    size: tuple[int, int]
    profile: bytes | None = None


def open_photo(source, *, side: int | None = None) -> Photo:
    """Read a photograph as upright RGB pixels, uint8 `(height, width, 3)`, with its size and ICC profile.

    What is transparent lies on black, and of what moves the first frame is taken. 16 bits a channel become 8; where
    values fill 8, 10, 12 or 14 of them, as some cameras' do, these are scaled, and a line on stderr says so. A JPEG of
    50 to 256 million pixels is read at a half, a quarter or an eighth of its size; others have at most 50 million.

    Args:
        source: as for `recognize`; the channels of an array are grey, grey and alpha, RGB or RGBA.
        side: a JPEG at least twice as long is reduced, but not below it, nor its shorter side below a 2.5th of it.

    Raises:
        DataError: if it is no picture, empty, without its end, absurdly large, or its values have no known range.
    """
    if isinstance(source, np.ndarray):
        return Photo(rgb := from_array(source), rgb.shape[:2])
    try:
        with images.sound, opened(source) as picture:
            width, height = picture.size
            if picture is not source and picture.format in ("JPEG", "MPO") and width * height <= MAX_JPEG_PIXELS:
                part = next(part for part in (1, 2, 4, 8) if width * height <= images.MAX_PIXELS * part**2)
                part = max(part, min(max(picture.size), WIDE * min(picture.size)) / side) if side else part
                picture.draft(None, (int(width / part), int(height / part)))
            rgb, profile = as_rgb(picture), picture.info.get("icc_profile")
            is_rgb = isinstance(profile, bytes) and profile[16:20] == b"RGB "
            size = (height, width) if images.orientation(picture) < 5 else (width, height)
            return Photo(rgb, size, profile if is_rgb else None)
    except DataError as error:
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
        name = name if len(name) <= LONGEST_PATH else f"{name[:40]}…"
        raise DataError(f"{name}: {error}" if name else str(error)) from error


def opened(source):
    """A picture opened with PIL; a JPEG whatever its size, since it can be read at a part of it."""
    taken, file = "the path of a picture, its bytes, a data URL, an open file, a PIL image or an array", source
    if isinstance(source, Image.Image):
        return contextlib.nullcontext(source)
    if isinstance(source, bytes | bytearray | memoryview):
        file = io.BytesIO(source)
    elif isinstance(source, str) and source[:5].lower() == "data:":
        head, body = source.partition(",")[0], unquote_to_bytes(source.partition(",")[2])
        file = io.BytesIO(base64.b64decode(body + b"==") if head.lower().endswith(";base64") else body)
    elif hasattr(source, "read"):
        file = source if getattr(source, "seekable", bool)() else io.BytesIO(source.read())
    elif not isinstance(source, str | os.PathLike):
        raise DataError(f"Expected {taken}. Received: {type(source).__name__}.")
    elif not os.path.isfile(source):
        length, found = len(os.fspath(source)), describe(source)
        found = found if length <= LONGEST_PATH else f"{length:,} characters. Decode base64 with base64.b64decode"
        raise DataError(f"Expected {taken}. Received: {found}.")
    try:
        return images.open_picture(file)
    except Image.DecompressionBombError:
        if hasattr(file, "seek"):
            file.seek(0)
        with contextlib.suppress(SyntaxError):
            return jpeg_factory(file)
        raise


def as_rgb(picture):
    """A PIL image as upright RGB pixels."""
    if picture.format in images.UNSAFE:
        raise DataError(f"Expected a picture of pixels (PNG, JPEG, ...). Received: one of format {picture.format}.")
    most = 8 if picture.mode == "I" and picture.format is None else 16  # made, not read: of 8
    picture = images.upright(picture)
    if picture.mode.startswith(("I", "F")):
        picture = Image.fromarray(eight_bits(np.asarray(picture), most))
    return np.array(images.on_black(picture).convert("RGB"))


def from_array(array):
    """An array as RGB pixels; one of RGB pixels is not copied."""
    channels, kinds = array.shape[2] if array.ndim == 3 else 1, ("uint8", "uint16")
    if array.ndim not in (2, 3) or not 1 <= channels <= 4 or not array.size or array.dtype.name not in kinds:
        expected = "Expected uint8 or uint16, (height, width) or (height, width, 1 to 4), with pixels"
        raise DataError(f"{expected}. Received: {array.dtype}, shape {array.shape}.")
    pixels = np.ascontiguousarray(array if array.dtype == np.uint8 else eight_bits(array))
    return pixels if channels == 3 else as_rgb(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def eight_bits(values, most=16):
    """Whole numbers of up to `most` bits as uint8, scaled by the fewest bits of a camera that hold them all."""
    low, high = values.min(), values.max()
    bits = next((bits for bits in (8, 10, 12, 14, 16) if high < 2**bits), most + 1)
    if values.dtype.kind not in "ui" or low < 0 or bits > most:
        received = f"{values.dtype}, {low:g} to {high:g}. Scale them to [0, 255] and convert them to uint8"
        raise DataError(f"Expected values of 8 or 16 bits. Received: {received}.")
    if high > 0 and bits < most:
        found = f"a picture of 16 bits holds values of {bits}: they are scaled from [0, {2**bits - 1:,}] to [0, 255]"
        say_once(f"{found}. If it has 16 bits and is dark, convert it to uint8 yourself")
    largest = 2**bits - 1
    return ((values.astype(np.uint32) * 255 + largest // 2) // largest).astype(np.uint8)
