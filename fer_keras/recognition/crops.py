"""From a detector's box to the grey picture that a network takes, framed as FER-2013 frames its faces."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from fer_keras.data.dataset import DataError


class Framing(NamedTuple):
    """How FER-2013's square lies on a detector's box.

    `benchmarks/detection.py` measures it. The detectors' own lie between the square that overlaps the true one best and
    the somewhat smaller one at which the networks' log loss is least.

    Args:
        scale: side of the square, in terms of the mean of the box's width and height.
        down: how far its centre lies below the box's, in the same terms.
    """

    scale: float = 1.0
    down: float = 0.0


def framed(box, framing):
    """Return the square `(left, top, side, side)` that shows a detected face as FER-2013 does.

    It may reach beyond the picture.

    Example:

    >>> framed((100, 50, 40, 60), Framing(scale=1.2, down=0.1))
    (90, 55, 60, 60)
    """
    left, top, width, height = box
    size = (width + height) / 2
    side = max(1, round(framing.scale * size))
    across, down = left + width / 2, top + height / 2 + framing.down * size
    return round(across - side / 2), round(down - side / 2), side, side


def crop(rgb, box, size):
    """Return what lies in a box of a picture, as a network takes it.

    Colour becomes grey by the luma that `data.pictures` uses, and shrinking averages. Beyond the picture's edge, its
    outermost pixels go on. A grey picture of the right size comes back pixel by pixel.

    Args:
        rgb: uint8 array `(height, width, 3)`.
        box: `(left, top, width, height)` in pixels.
        size: `(height, width)` of the result.

    Returns:
        A uint8 array `(height, width, 1)`.

    Raises:
        DataError: if the box lies outside the picture.
    """
    left, top, width, height = box
    rows = slice(max(0, top), max(0, top + height))
    columns = slice(max(0, left), max(0, left + width))
    inside = rgb[rows, columns]
    if not inside.size:
        raise DataError(f"Expected a box on a picture of {rgb.shape[1]}x{rgb.shape[0]} pixels. Received: {box}.")
    grey = np.asarray(Image.fromarray(np.ascontiguousarray(inside)).convert("L"))
    above, before = rows.start - top, columns.start - left
    below, after = height - above - len(grey), width - before - grey.shape[1]
    if above or before or below or after:
        grey = np.pad(grey, ((above, below), (before, after)), mode="edge")
    return np.asarray(Image.fromarray(grey).resize(tuple(size)[::-1], Image.Resampling.BILINEAR))[..., None]
