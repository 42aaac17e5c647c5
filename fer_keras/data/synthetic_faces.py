"""Synthetic faces: drawn grey faces whose features follow the emotion, for machines and tests without a data set.

They are no photographs, and a network trained on them says nothing about people: `source` and `protocol` say "drawn".
"""

import types

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fer_keras.data.dataset import FaceDataset, check_integer, check_known
from fer_keras.data.synthetic_features import ACTIONS, ARCH, EXPRESSIONS, PAINTERS
from fer_keras.labels import FER7, FERPLUS8

# Each run of seven faces of a class holds one for validation and one for test: 71, 14 and 14 percent. The splits of a
# smaller set are the beginnings of those of a larger one, so a network trained on one never saw the other's test faces.
CYCLE = ("train", "validation", "test", "train", "train", "train", "train")
SUPERSAMPLING = 4

# Uniform ranges: proportions in face coordinates, tones in [0, 255], the pose in the picture.
PERSON = {
    "width": (0.92, 1.04), "jaw": (0.62, 1.0), "chin": (1.34, 1.5), "eye_gap": (0.4, 0.47), "eye_width": (0.17, 0.22),
    "eye_height": (0.085, 0.125), "brow_y": (-0.34, -0.25), "brow_length": (0.42, 0.54), "brow_arch": (0.02, 0.09),
    "brow_width": (0.06, 0.13), "nose_y": (0.5, 0.58), "nose_width": (0.16, 0.25), "mouth_y": (0.86, 0.96),
    "mouth_width": (0.29, 0.38), "lip_size": (0.6, 1.3), "hairline": (-1.0, -0.7), "edge": (-1.2, 1.2),
    "skin": (80, 205), "background": (10, 240), "backdrop": (10, 240), "clothes": (10, 230), "hair": (15, 170),
    "iris": (25, 85), "enamel": (190, 245), "yaw": (-0.25, 0.25), "pitch": (-0.1, 0.1), "roll": (-0.2, 0.2),
    "scale": (0.37, 0.45), "centre_x": (0.45, 0.55), "centre_y": (0.34, 0.44),
}  # fmt: skip
LIGHT = {
    "across": (-0.35, 0.35), "down": (-0.25, 0.25), "side": (0.0, 0.5), "contrast": (30, 60), "middle": (95, 155),
    "blur": (0.0, 0.8), "noise": (1.0, 7.0),
}  # fmt: skip


def make_faces(num_per_class: int, *, classes: tuple[str, ...] = FER7, seed: int = 0, size: int = 48) -> FaceDataset:
    """Draw a data set of faces: uint8, classes taking turns, of each about 70 percent train, 15 validation, 15 test.

    Face k of an emotion is a function of `seed`, emotion and k alone: a smaller set is the beginning of a larger one,
    splits included, and four classes drawn are four of the seven.

    Args:
        num_per_class: at least 3, one face of every class for each split.
        classes: emotions, any of `labels.FERPLUS8`.
        seed: at least 0.
        size: side of the images in pixels, at least 8.
    """
    classes = check_known("class", classes, FERPLUS8)
    for name, value, least in (("num_per_class", num_per_class, 3), ("seed", seed, 0), ("size", size, 8)):
        check_integer(name, value, least)
    images = np.empty((num_per_class, len(classes), size, size, 1), np.uint8)
    for number in range(num_per_class):
        for label, emotion in enumerate(classes):
            generator = np.random.default_rng((seed, FERPLUS8.index(emotion), number))
            face = sample_face(generator, emotion, intensity=generator.uniform(0.6, 1.0))
            images[number, label, :, :, 0] = photograph(generator, draw(face, size))
    turns = np.arange(num_per_class) % len(CYCLE)
    return FaceDataset(
        images=images.reshape(-1, size, size, 1),
        labels=np.tile(np.arange(len(classes)), num_per_class),
        split=np.repeat(np.array(CYCLE)[turns], len(classes)),
        classes=classes,
        source=f"synthetic faces, seed {seed}",
        protocol="drawn",
    )


def sample_face(generator, emotion, *, intensity):
    """A namespace with a person's proportions, tones and pose, drawn first, and the actions of an emotion.

    `intensity` in [0, 1] is how strongly the emotion shows.
    """
    face = types.SimpleNamespace(**uniform(PERSON, generator))
    if abs(face.hair - face.skin) < 35:
        face.hair = 0.55 * face.skin
    face.lash, face.lip, face.eye_white = 0.3 * min(face.hair, face.skin), 0.7 * face.skin, 120 + 0.45 * face.skin
    face.brow = min(0.6 * face.hair + 0.15 * face.skin, 0.6 * face.skin)
    vars(face).update({action: 0.06 * generator.random() for action in ACTIONS})
    variants = EXPRESSIONS[emotion]
    for action, full in variants[generator.integers(len(variants))].items():
        shown = full * intensity * (1 if intensity == 1 else generator.uniform(0.75, 1.1))
        setattr(face, action, min(getattr(face, action) + shown, 1.0))
    return face


def uniform(ranges, generator):
    """A number drawn uniformly from each of the ranges, by name."""
    return {name: generator.uniform(low, high) for name, (low, high) in ranges.items()}


def photograph(generator, picture):
    """A drawn picture as a camera would take it: light from somewhere, contrast, blur and noise, as uint8."""
    size, light = len(picture), types.SimpleNamespace(**uniform(LIGHT, generator))
    position = np.linspace(-1, 1, size)
    lit = picture * (1 + light.across * position + light.down * position[:, None])
    lit = lit * (1 - light.side * np.clip(0.5 - 1.5 * np.sign(light.across) * position, 0, 1))
    middle = lit[size // 6 : -(size // 6), size // 6 : -(size // 6)]  # the face, which a camera exposes for
    lit = light.middle + light.contrast * (lit - middle.mean()) / (middle.std() + 1)
    photo = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    photo = np.asarray(photo.filter(ImageFilter.GaussianBlur(light.blur * size / 48)))
    return np.clip(photo + light.noise * generator.standard_normal((size, size)), 0, 255).astype(np.uint8)


class Sketch:
    """Shapes in face coordinates, in the order in which they are painted, and soft spots of shadow or light on them."""

    def __init__(self):
        self.shapes, self.shades = [], []

    def add(self, x, y, tone, relief=1.0, width=None):
        """Add a polygon; with `width`, in face units, a line with thin ends through 13 points.

        `relief` is its height above the midplane of the head, 1 for the skin.
        """
        self.shapes.append((np.asarray(x), np.asarray(y), tone, relief, width))

    def band(self, x, top, bottom, tone, relief=1.0):
        """Add the area between two curves over the same `x`."""
        self.add(np.concatenate((x, x[::-1])), np.concatenate((top, bottom[::-1])), tone, relief)

    def shade(self, x, y, width, height, amount):
        """Add a soft spot of shadow (`amount` below 0) or of light to whatever lies there when all is painted."""
        self.shades.append((x, y, width, height, amount))


def draw(face, size):
    """A face as a float array `(size, size)`, about [0, 255], in an even light, antialiased."""
    sketch = Sketch()
    for paint in PAINTERS:
        paint(sketch, face)
    canvas = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING), round(face.background))
    brush = ImageDraw.Draw(canvas)
    for x, y, tone, relief, width in sketch.shapes:
        points = project(face, x, y, relief)
        if width is not None:
            along = np.gradient(points, axis=0)
            normal = along[:, ::-1] * (-1, 1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
            offset = normal * (0.25 + 0.25 * ARCH[:, None]) * max(width * face.scale, 0.8 / size)
            points = np.concatenate((points + offset, (points - offset)[::-1]))
        # Whole pixels, so that the way PIL rounds floats cannot show.
        corners = np.rint(points * size * SUPERSAMPLING).astype(int)
        brush.polygon(corners.ravel().tolist(), fill=int(min(max(tone, 0), 255)))
    x, y, width, height, amount = np.array(sketch.shades).T
    x, y = project(face, x, y, 1.0).T
    across = (np.arange(size) + 0.5) / size
    columns = np.exp(-(((across - x[:, None]) / (width * face.scale)[:, None]) ** 2))
    rows = np.exp(-(((across - y[:, None]) / (height * face.scale)[:, None]) ** 2))
    return np.asarray(canvas.reduce(SUPERSAMPLING), float) * (1 + (amount[:, None] * rows).T @ columns)


def project(face, x, y, relief):
    """Turn points of a face by its yaw, pitch and roll; they become `(n, 2)` in units of the picture's side."""
    depth = relief * 0.9 * np.sqrt(np.maximum(0, 1 - (x / 1.15) ** 2))
    points = np.stack((x + face.yaw * depth, y + face.pitch * depth), axis=1)
    cosine, sine = np.cos(face.roll), np.sin(face.roll)
    return (face.centre_x, face.centre_y) + face.scale * points @ [[cosine, sine], [-sine, cosine]]
