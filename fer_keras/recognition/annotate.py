"""Copies of pictures with what was recognised: boxes and emotions, bars of probabilities, heatmaps."""

import functools
import importlib.util
import io
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageDraw, ImageFont

from fer_keras.labels import COLOURS
from fer_keras.paths import check_writable, write_whole
from fer_keras.recognition.detectors import Detection, shared
from fer_keras.recognition.networks import keras_network
from fer_keras.recognition.photos import open_photo
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, Face, Recognizer, recognizer, scaled_box

FORMATS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
OTHER_COLOUR = "#FFFFFF"  # of "uncertain", and of classes that are no emotions
LEAST_TEXT = 11  # pixels
MARK = b"fer_keras: a copy with faces"  # in the files of copies, as the software that wrote them


def annotate(source: Any, target: str | os.PathLike, *, bars: bool = False, **options: Any) -> list[Face]:
    """Write a picture with a box around each face, its emotion and confidence, and return the list of `Face`s.

    The copy keeps the colour profile of the picture, and nothing that the camera noted, such as the place.

    Args:
        source: as for `recognize`, as are the `options`.
        target: path of the copy; its suffix says its kind: PNG, JPEG, WEBP, TIFF or BMP.
        bars: draw the probability of each class beside its box, too.

    Raises:
        DataError: if the source is no picture.
        ValueError: if the target is the source itself or of no such kind; on other options, as `Recognizer`.
    """
    check_target(source, target)
    photo = open_photo(source)
    faces = resized(recognizer(**options).recognize(photo.rgb), photo.rgb.shape, photo.size)
    write_faces(photo, faces, target, bars=bars)
    return faces


def explain_picture(source, target, *, network=DEFAULT_NETWORK, classes=None, method="occlusion", **options):
    """Write a picture with a heatmap over each face: where the network reads its likeliest emotion.

    Args are those of `annotate`, `Recognizer` (a network of Keras: ONNX Runtime has no gradients) and `explain`. The
    result is a list of `(Face, shares)`: `shares` is a dict from a part of the face to its share of the heatmap.
    """
    check_target(source, target)
    photo = open_photo(source)  # before Keras is imported
    from fer_keras.evaluation.explain import explain
    from fer_keras.evaluation.heatmaps import region_shares

    rgb, found = photo.rgb, Recognizer(keras_network(network, classes=classes), **options)
    crops = found.crops(rgb, detections := found.detect(rgb))
    heatmaps = explain(found.network.model, crops, method=method)
    for region, heatmap in zip(found.squares(detections), heatmaps, strict=True):
        rgb = paint_heatmap(rgb, heatmap, region)
    faces = resized(found.faces(detections, found.calibrated(crops)), rgb.shape, photo.size)
    write_faces(photo._replace(rgb=rgb), faces, target)
    shares = region_shares(heatmaps)
    return [(face, {part: float(shares[part][number]) for part in shares}) for number, face in enumerate(faces)]


def resized(faces, shape, size):
    """Faces in a picture of `shape` as those in the same picture of `size`."""
    return [replace(face, box=scaled_box(face.box, shape, size)) for face in faces]


def check_target(source, target) -> None:
    """Raise an error if a picture must not be written there, or cannot."""
    if Path(target).suffix.lower() not in FORMATS:
        raise ValueError(f"{target}: Expected a name that ends with one of {', '.join(FORMATS)}.")
    owners = () if isinstance(source, str | os.PathLike) else (source, getattr(source, "fp", None))  # of a file's name
    files = [source, *(getattr(owner, name, None) for owner in owners for name in ("filename", "name"))]
    files = [file for file in files if isinstance(file, str | bytes | int | os.PathLike) and os.path.exists(file)]
    if os.path.exists(target) and any(os.path.samefile(file, target) for file in files):
        raise ValueError(f"{target}: Expected another place than that of the picture itself, which would be lost.")
    check_writable(target)


def write_faces(photo, faces: list[Face], target, *, bars: bool = False) -> None:
    """Write a `Photo` with its faces, whose boxes are in pixels of its full size; the suffix says the kind."""
    drawn = draw_faces(photo.rgb, resized(faces, photo.size, photo.rgb.shape), bars=bars)
    picture, content, exif = Image.fromarray(drawn), io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Software] = MARK.decode()
    try:
        image_format = Image.registered_extensions()[Path(target).suffix.lower()]
        picture.save(content, image_format, quality=95, icc_profile=photo.profile, exif=exif)
    except (ValueError, OSError) as error:
        size = f"{picture.width}x{picture.height}"
        raise ValueError(f"{target}: Expected a size that this format can hold. Received: {size}, {error}") from error
    write_whole(target, content.getvalue() + MARK * (image_format == "BMP"))  # which has no place for it


def draw_faces(rgb: np.ndarray, faces: list[Face], *, names=None, bars: bool = False) -> np.ndarray:
    """Draw boxes, emotions (after `names`, a word a face), and probabilities as `bars` into a copy of a picture."""
    picture = Image.fromarray(rgb)
    canvas, shorter = ImageDraw.Draw(picture, "RGBA"), min(picture.size)
    line, size = max(2, round(shorter / 200)), max(LEAST_TEXT, round(shorter / 28))
    for face in faces:
        left, top, width, height = face.box
        right, bottom = left + width - 1, top + height - 1
        # A thin dark edge makes the box stand out from its own colour.
        canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black", width=line + 2)
        canvas.rectangle((left, top, right, bottom), outline=COLOURS.get(face.emotion, OTHER_COLOUR), width=line)
    taken = [face.box for face in faces]
    for face in faces if bars else ():
        taken.append(draw_bars(canvas, face, taken, size, picture.size))
    for face, name in zip(faces, [""] * len(faces) if names is None else names, strict=True):  # words above all boxes
        draw_words(canvas, face, name, size, line, picture.size)
    return np.asarray(picture)


def draw_words(canvas, face, name, size, line, shape):
    """Write words on a plate above a face, or inside its box where there is no room; never outside the picture."""
    # Never 100 %, and no number beside "uncertain", which would seem to be of that word.
    number = f"{min(face.confidence, 0.99):.0%}" if face.emotion in face.probabilities else ""
    text = " ".join(f"{name} {face.emotion} {number}".split())
    font, plate = font_for(text, size), COLOURS.get(face.emotion, OTHER_COLOUR)
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * line, bottom - top + 2 * line
    x = max(0, min(face.box[0] - 1, shape[0] - width))
    y = face.box[1] - 1 - height
    y = y if y >= 0 else max(0, min(face.box[1], shape[1] - height))
    canvas.rectangle((x, y, x + width - 1, y + height - 1), fill=plate)
    luminance = (np.array(ImageColor.getrgb(plate)) / 255) ** 2.2 @ [0.2126, 0.7152, 0.0722]
    ink = "black" if luminance > 0.179 else "white"  # whichever stands out more (WCAG 2)
    canvas.text((x + line - left, y + line - top), text, font=font, fill=ink)


def draw_bars(canvas, face, taken, size, shape):
    """Draw a bar for each class on the panel beside a box that hides least of what is `taken`; return its place."""
    left, top, width, height = face.box
    shares, choices = {" ".join(name.split()): value for name, value in face.probabilities.items()}, []
    number = len(shares)
    for least, label in ((1.2 * LEAST_TEXT, True), (5, False)):
        row = max(least, min(height / number, 1.3 * size))
        font = font_for("".join(shares), round(row / 1.3)) if label else None
        words = max(canvas.textlength(each, font=font) for each in shares) + row / 3 if label else 0
        across, down = words + 4.5 * row, number * row
        if label and (across > shape[0] or down > shape[1]):
            continue
        for x in (left + width + row / 3, left - row / 3 - across):
            y = max(0, min(top, shape[1] - down))
            panel = (max(0, min(x, shape[0] - across)), y, min(across, shape[0]), min(down, shape[1]))
            choices.append((sum(shared(panel, each) for each in taken), panel, font, words))
    _, (x, y, across, down), font, words = min(choices, key=lambda choice: choice[0])
    canvas.rectangle((x, y, x + across - 1, y + down - 1), fill=(0, 0, 0, 150))  # the picture shows through
    row, pad = down / number, min(down / number, across) / 4
    start = x + pad + words
    for place, (name, value) in enumerate(shares.items()):
        middle, end = y + (place + 0.5) * row, start + value * (x + across - pad - start)
        if font:
            canvas.text((x + pad, middle), name, font=font, fill="white", anchor="lm")
        canvas.rectangle((start, middle - 0.3 * row, end, middle + 0.3 * row), fill=COLOURS.get(name, OTHER_COLOUR))
    return x, y, across, down


@functools.lru_cache(maxsize=64)
def font_for(text, size):
    """Pillow's own font, or for letters that it has not the DejaVu Sans that matplotlib brings."""
    if text.isascii():
        return ImageFont.load_default(size)
    found = importlib.util.find_spec("matplotlib")
    file = Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if found and found.origin else None
    font = ImageFont.truetype(file, size) if file and file.is_file() else ImageFont.load_default(size)
    empty = bytes(font.getmask("\uffff"))
    missing = "".join(letter for letter in text if not letter.isspace() and bytes(font.getmask(letter)) == empty)
    if missing:
        advice = "" if file else " Install matplotlib, whose font has more letters."
        warnings.warn(f"No font at hand has the letters {missing!r}: boxes are drawn.{advice}", stacklevel=2)
    return font


def paint_heatmap(rgb: np.ndarray, heatmap: np.ndarray, region: Detection) -> np.ndarray:
    """Paint a heatmap, float32 in [0, 1], over a region of a copy of a picture: black, red, yellow, white."""
    left, top, width, height = region.box
    whole = Image.fromarray(heatmap).resize((width, height), Image.Resampling.BILINEAR)
    if region.angle:
        whole = whole.rotate(-region.angle, Image.Resampling.BILINEAR, expand=True)
    place = round(left + (width - whole.width) / 2), round(top + (height - whole.height) / 2)
    shown, picture = np.asarray(whole).clip(0, 1), Image.fromarray(rgb)
    painted = np.rint(255 * (3 * shown[..., None] - np.arange(3)).clip(0, 1)).astype(np.uint8)
    mask = np.rint(255 * 0.65 * shown).astype(np.uint8)  # where it is 0 the face stays as it is
    picture.paste(Image.fromarray(painted), place, Image.fromarray(mask))
    return np.asarray(picture)
