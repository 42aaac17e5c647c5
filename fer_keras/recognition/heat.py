"""A picture with heat over its faces: where the network reads what it says of them."""

import numpy as np
from PIL import Image

from fer_keras.evaluation.heatmaps import region_shares
from fer_keras.recognition.annotating import check_target, write_picture
from fer_keras.recognition.drawing import draw_faces
from fer_keras.recognition.networks import keras_network
from fer_keras.recognition.photos import read_photo
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, Recognizer

MOST_COVERED = 0.65  # of a face, where the heat is greatest; what is cold stays as it is


def explain_picture(source, target, *, network=DEFAULT_NETWORK, classes=None, method="occlusion", **options):
    """Write a picture with heat over each face where the network reads its likeliest emotion.

    Args:
        source: as for `recognize`.
        target: path of the copy; its suffix says its kind.
        network: as for `Recognizer`, but of Keras: ONNX Runtime has no gradients and no layers.
        classes: as for `Recognizer`.
        method: as for `evaluation.explain.explain`.
        options: as for `Recognizer`.

    Returns:
        A list of `(Face, shares)`: `shares` is a dict from a part of the face to its share of the heat.

    Raises:
        DataError: if the source is no picture.
        ValueError: if there is no such network or method, or the picture must not be written there.
    """
    from fer_keras.evaluation.explain import explain

    check_target(source, target)
    rgb = read_photo(source)
    recognizer = Recognizer(keras_network(network, classes=classes), **options)
    detections = recognizer.detect(rgb)
    crops = recognizer.crops(rgb, detections)
    maps = explain(recognizer.network.model, crops, method=method)
    faces = recognizer.faces(detections, recognizer.calibrated(crops))
    for square, heat in zip(recognizer.squares(detections), maps, strict=True):
        rgb = painted(rgb, heat, square.box)
    write_picture(draw_faces(rgb, faces), target)
    shares = region_shares(maps)
    return [(face, {part: float(shares[part][number]) for part in shares}) for number, face in enumerate(faces)]


def painted(rgb, heat, square):
    """Return a copy of a picture with heat in a square of it, from black over red and yellow to white.

    Args:
        rgb: uint8 array `(height, width, 3)`.
        heat: float32 array `(rows, columns)`, values in [0, 1].
        square: `(left, top, width, height)` in pixels; it may reach beyond the picture.

    Returns:
        A uint8 array of the same shape.

    Example:

    >>> painted(np.zeros((2, 2, 3), np.uint8), np.eye(2, dtype=np.float32), (0, 0, 2, 2))[0].tolist()
    [[166, 166, 166], [0, 0, 0]]
    """
    left, top, width, height = square
    whole = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR))
    rows, columns = slice(max(0, top), max(0, top + height)), slice(max(0, left), max(0, left + width))
    found = rgb.copy()
    under = found[rows, columns].astype(np.float32)
    # What lies beyond the picture's edge is left out.
    shown = whole[rows.start - top :, columns.start - left :][: under.shape[0], : under.shape[1], None].clip(0, 1)
    colour = 255 * (3 * shown - np.arange(3)).clip(0, 1)
    found[rows, columns] = np.rint(under + MOST_COVERED * shown * (colour - under)).astype(np.uint8)
    return found
