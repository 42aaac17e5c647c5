"""Copies of pictures with named faces in them."""

import io
import os
from pathlib import Path

from PIL import Image

from fer_keras.paths import write_whole
from fer_keras.recognition.drawing import draw_faces
from fer_keras.recognition.photos import read_photo
from fer_keras.recognition.recognizer import recognizer

WRITTEN = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}


def annotate(source, target, **options):
    """Write a picture with a box around each face, its emotion and confidence, and return the list of `Face`s.

    What the camera noted, such as the place, is not in the copy.

    Args:
        source: as for `recognize`.
        target: path of the copy; its suffix says its kind: PNG, JPEG, WEBP, TIFF or BMP.
        options: as for `recognize`.

    Raises:
        DataError: if the source is no picture.
        ValueError: if the target is the source itself or of no such kind; on other options, as `Recognizer`.
    """
    check_target(source, target)
    rgb = read_photo(source)
    faces = recognizer(**options).recognize(rgb)
    write_picture(draw_faces(rgb, faces), target)
    return faces


def check_target(source, target):
    """Raise a `ValueError` if a picture must not be written there."""
    if Path(target).suffix.lower() not in WRITTEN:
        raise ValueError(f"{target}: Expected a name that ends with one of {', '.join(WRITTEN)}.")
    is_path = isinstance(source, str | os.PathLike)
    if is_path and Path(target).exists() and Path(source).exists() and os.path.samefile(source, target):
        raise ValueError(f"{target}: Expected another place than that of the picture itself, which would be lost.")


def write_picture(rgb, target):
    """Write a picture, whole or not at all; the suffix says its kind."""
    content = io.BytesIO()
    Image.fromarray(rgb).save(content, WRITTEN[Path(target).suffix.lower()], quality=95)
    write_whole(target, content.getvalue())
