"""From a detector's box to the grey square that a network takes."""

import numpy as np
from PIL import Image


def crop(rgb, box, size):
    """Return a box of a picture as grey uint8 pixels `(height, width, 1)` of `size`."""
    left, top, width, height = box
    face = Image.fromarray(rgb).crop((left, top, left + width, top + height)).convert("L")
    return np.asarray(face.resize(size[::-1], Image.Resampling.BILINEAR))[..., None]
