"""Photographs of any kind, from anywhere, as upright RGB pixels."""

import io

import numpy as np
from PIL import Image

from fer_keras.data.pictures import BOMBS, DAMAGE, on_black, quiet, upright
from fer_keras.data.problems import DataError


def read_photo(source):
    """Return a photograph as upright uint8 RGB pixels `(height, width, 3)`."""
    try:
        if isinstance(source, np.ndarray):
            source = Image.fromarray(source)
        if isinstance(source, Image.Image):
            return np.asarray(on_black(upright(source)).convert("RGB"))
        with quiet(), Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return np.asarray(on_black(upright(picture)).convert("RGB"))
    except (*DAMAGE, *BOMBS) as error:
        raise DataError(f"Expected a whole picture (PNG, JPEG, ...). Received: {str(error)[:120]}.") from error
