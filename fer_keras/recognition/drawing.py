"""Named faces drawn into a picture: a box in the colour of its emotion, and words that can be read on anything."""

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from fer_keras.labels import COLOURS

OTHER_COLOUR = "#FFFFFF"  # of "uncertain", and of classes that are no emotions
LINE_SHARE, TEXT_SHARE = 1 / 200, 1 / 28  # of the picture's shorter side
LEAST_LINE, LEAST_TEXT = 2, 11  # pixels


def draw_faces(rgb, faces, *, names=None):
    """Return a copy of a picture with a box around each face, and its emotion and confidence in words.

    Args:
        rgb: uint8 array `(height, width, 3)`.
        faces: list of `Face`.
        names: list of words, one a face, to put before its emotion, such as the number of the person; None for none.

    Returns:
        A uint8 array of the same shape.

    Raises:
        ValueError: if there is not a name for each face.
    """
    names = [""] * len(faces) if names is None else list(names)
    if len(names) != len(faces):
        raise ValueError(f"`names` must have a word for each of {len(faces)} faces. Received: {len(names)}.")
    picture = Image.fromarray(rgb)
    canvas = ImageDraw.Draw(picture)
    shorter = min(picture.size)
    line = max(LEAST_LINE, round(shorter * LINE_SHARE))
    font = ImageFont.load_default(max(LEAST_TEXT, round(shorter * TEXT_SHARE)))
    for face in faces:
        draw_box(canvas, face, line)
    for face, name in zip(faces, names, strict=True):  # words lie above all boxes
        draw_words(canvas, face, words(face, name), font, line, picture.size)
    return np.asarray(picture)


def draw_box(canvas, face, line):
    """Draw the box of a face, with a thin dark edge so that it stands out from its own colour."""
    left, top, width, height = face.box
    right, bottom = left + width - 1, top + height - 1
    canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black", width=line + 2)
    canvas.rectangle((left, top, right, bottom), outline=colour(face.emotion), width=line)


def draw_words(canvas, face, text, font, line, size):
    """Write words on a plate above a face, or inside its box where there is no room; never outside the picture."""
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    pad = max(1, line)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(face.box[0] - 1, size[0] - width))
    y = face.box[1] - 1 - height
    y = y if y >= 0 else max(0, min(face.box[1], size[1] - height))
    plate = colour(face.emotion)
    canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=plate)
    canvas.text((x + pad - left, y + pad - top), text, font=font, fill=ink(plate))


def words(face, name=""):
    """Return what is written at a face.

    An uncertain face gets no number, which would be read as the certainty of that word; and nothing is said to be
    certain, however near its probability comes.
    """
    known = face.emotion in face.probabilities
    return " ".join(filter(None, [name, face.emotion, f"{min(face.confidence, 0.99):.0%}" if known else ""]))


def colour(emotion):
    """Return the colour of an emotion."""
    return COLOURS.get(emotion, OTHER_COLOUR)


def ink(plate):
    """Return black or white, whichever stands out more from a colour, by their relative luminance (WCAG 2)."""
    channels = np.array(ImageColor.getrgb(plate)) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"
