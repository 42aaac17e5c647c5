"""Synthetic faces: drawn grey faces whose features follow the emotion, for machines and tests without a data set.

They are no photographs, and a network trained on them says nothing about people: `source` and `protocol` say "drawn".
"""

import types

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fer_keras.data import synthetic_features as features
from fer_keras.data.dataset import FaceDataset, refuse_unknown
from fer_keras.labels import FER7, FERPLUS8

# Each run of seven faces of a class holds one for validation and one for test: 71, 14 and 14 percent. The splits of a
# smaller set are the beginnings of those of a larger one, so a network trained on one never saw the other's test faces.
CYCLE = ("train", "validation", "test", "train", "train", "train", "train")
SUPERSAMPLING = 4
LEAST = {"num_per_class": 3, "seed": 0, "size": 8}

# Uniform ranges, in face coordinates, tones in [0, 255].
PROPORTIONS = {
    "width": (0.92, 1.04), "jaw": (0.62, 1.0), "chin": (1.34, 1.5), "age": (0.0, 0.9), "lopsided": (-0.02, 0.02),
    "eye_gap": (0.4, 0.47), "eye_width": (0.17, 0.22), "eye_height": (0.085, 0.125), "eye_tilt": (-0.03, 0.02),
    "gaze": (-0.04, 0.04), "brow_y": (-0.34, -0.25), "brow_length": (0.42, 0.54), "brow_arch": (0.02, 0.09),
    "brow_width": (0.06, 0.13), "nose_y": (0.5, 0.58), "nose_width": (0.16, 0.25), "mouth_y": (0.86, 0.96),
    "mouth_width": (0.29, 0.38), "lip_size": (0.6, 1.3), "hairline": (-0.95, -0.7), "parting": (-0.6, 0.6),
    "glasses_height": (0.17, 0.25), "occluder_x": (-1.0, 1.0), "occluder_y": (0.8, 1.6), "teeth": (0.2, 1.0),
    "backdrop_edge": (-1.2, 1.2),
}  # fmt: skip
TONES = {
    "skin": (80, 205), "background": (10, 240), "backdrop": (10, 240), "clothes": (10, 230), "occluder_tone": (20, 220),
    "glasses_tone": (10, 60), "iris": (25, 85), "enamel": (190, 245),
}  # fmt: skip
POSE = {
    "yaw": (-0.25, 0.25), "pitch": (-0.1, 0.1), "roll": (-0.2, 0.2), "scale": (0.37, 0.45),
    "centre_x": (0.45, 0.55), "centre_y": (0.34, 0.44),
}  # fmt: skip
LIGHT = {
    "across": (-0.35, 0.35), "down": (-0.25, 0.25), "side": (0.0, 0.5), "contrast": (30, 60), "middle": (95, 155),
    "blur": (0.0, 0.8), "noise": (1.0, 7.0),
}  # fmt: skip
# From the back to the front.
PAINTERS = (
    features.surroundings, features.head, features.wrinkles, features.beard, features.nose, features.mouth,
    features.eyes, features.brows, features.hair, features.extras,
)  # fmt: skip


def make_faces(num_per_class, *, classes=FER7, seed=0, size=48):
    """Draw a data set of faces.

    Face k of an emotion is a function of `seed`, emotion and k alone: a smaller set is the beginning of a larger one,
    splits included, and four classes drawn are four of the seven.

    Args:
        num_per_class: int, at least 3, one face of every class for each split.
        classes: tuple of emotions, any of `labels.FERPLUS8`.
        seed: int, at least 0.
        size: int, side of the images in pixels, at least 8.

    Returns:
        A `FaceDataset` of uint8 images `(num_per_class * len(classes), size, size, 1)` in [0, 255], classes taking
        turns, about 70 percent train, 15 validation and 15 test, the same in every class.

    Raises:
        ValueError: on an unknown or repeated class, too few faces, a negative seed or too small a size.

    Example:

    >>> make_faces(7, classes=("happy", "sad"))
    <FaceDataset drawn faces, seed 0: 10 train, 2 validation, 2 test; 48x48; happy, sad>
    """
    check_request(classes, num_per_class=num_per_class, seed=seed, size=size)
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
        classes=tuple(classes),
        source=f"drawn faces, seed {seed}",
        protocol="drawn",
    )


def check_request(classes, **numbers):
    """Raise a `ValueError` on a request that cannot be drawn."""
    refuse_unknown("class", classes, FERPLUS8)
    if not classes or len(set(classes)) != len(classes):
        raise ValueError(f"`classes` must name at least one class, each once. Received: {tuple(classes)}.")
    for name, value in numbers.items():
        if value < LEAST[name]:
            raise ValueError(f"`{name}` must be at least {LEAST[name]}. Received: {value}.")


def sample_face(generator, emotion, *, intensity):
    """A namespace with a person's proportions and tones, a pose, and the actions of an emotion.

    Args:
        generator: `numpy.random.Generator`; the person and the pose are drawn before the emotion is looked at.
        emotion: str, any of `labels.FERPLUS8`.
        intensity: float in [0, 1], how strongly the emotion shows.
    """
    face = types.SimpleNamespace()
    for table in (PROPORTIONS, TONES, POSE):
        spread(face, table, generator)
    style, beard, glasses, occluder, grey, darkness, resting = generator.random(7)
    face.hair_style = pick(style, bald=0.07, afro=0.08, fringe=0.15, parted=0.2, long=0.2, short=1)
    face.beard_style = "none" if face.hair_style == "long" else pick(beard, stubble=0.2, full=0.2, none=1)
    face.glasses, face.occluded = glasses < 0.12, occluder < 0.04
    face.hair = (110 if grey < 0.2 else 15) + 80 * darkness
    if abs(face.hair - face.skin) < 35:
        face.hair = 0.55 * face.skin
    face.lash = 0.3 * min(face.hair, face.skin)
    face.brow = min(0.6 * face.hair + 0.15 * face.skin, 0.6 * face.skin)
    face.lip = (0.62 + 0.16 * darkness) * face.skin
    face.eye_white = 120 + 0.45 * face.skin
    face.smirk_side = 1 if resting < 0.5 else -1
    for name in features.ACTIONS:
        setattr(face, name, 0.06 * generator.random())
    variants = features.EXPRESSIONS[emotion]
    for name, full in variants[generator.integers(len(variants))].items():
        shown = full * intensity * (1 if intensity == 1 else generator.uniform(0.75, 1.1))
        setattr(face, name, min(getattr(face, name) + shown, 1.0))
    return face


def draw(face, size):
    """A face as a float array `(size, size)`, about [0, 255], in an even light."""
    sketch = Sketch(face)
    for paint in PAINTERS:
        paint(sketch, face)
    return sketch.paint(size)


def spread(face, table, generator):
    """Set each name of `table` on `face` to a number drawn uniformly from its range."""
    low, high = np.array(list(table.values())).T
    vars(face).update(zip(table, (low + (high - low) * generator.random(len(table))).tolist(), strict=True))


def pick(chance, **shares):
    """The name in whose share of [0, 1] `chance` falls; the last share is 1, for all that is left."""
    for name, share in shares.items():
        if chance < share:
            return name
        chance -= share
    raise ValueError(f"The shares must sum to at least 1. Received: {shares}.")


def photograph(generator, picture):
    """A drawn picture as a camera would take it: light from somewhere, contrast, blur and noise, as uint8."""
    size = len(picture)
    light = types.SimpleNamespace()
    spread(light, LIGHT, generator)
    position = np.linspace(-1, 1, size)
    lit = picture * (1 + light.across * position + light.down * position[:, None])
    lit = lit * (1 - light.side * np.clip(0.5 - 1.5 * np.sign(light.across) * position, 0, 1))
    # A camera exposes for the face, which fills the middle.
    margin = size // 6
    middle = lit[margin:-margin, margin:-margin]
    lit = light.middle + light.contrast * (lit - middle.mean()) / (middle.std() + 1)
    photo = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    photo = photo.filter(ImageFilter.GaussianBlur(light.blur * size / 48))
    noise = light.noise * generator.standard_normal((size, size))
    return np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8)


class Sketch:
    """Shapes in face coordinates, in the order in which they are painted.

    Args:
        face: namespace of the face; its pose and its background are used here.
    """

    def __init__(self, face):
        self.face = face
        self.shapes = []
        self.shades = []

    def area(self, x, y, tone, relief=1.0):
        """Add a filled polygon; `relief` is its height above the midplane of the head, 1 for the skin."""
        self.shapes.append((x, y, tone, relief, None))

    def band(self, x, top, bottom, tone, relief=1.0):
        """Add the area between two curves over the same `x`."""
        self.area(np.concatenate((x, x[::-1])), np.concatenate((top, bottom[::-1])), tone, relief)

    def stroke(self, x, y, tone, width, relief=1.0):
        """Add a line with thin ends through 13 points; `width` is that of its middle, in face units."""
        self.shapes.append((x, y, tone, relief, width))

    def shade(self, x, y, width, height, amount):
        """Add a soft spot of shadow (`amount` below 0) or of light to whatever lies there when all is painted."""
        self.shades.append((x, y, width, height, amount))

    def project(self, x, y, relief):
        """Turn points of the face by its yaw, pitch and roll; return `(n, 2)` in units of the picture's side."""
        face = self.face
        depth = relief * 0.9 * np.sqrt(np.maximum(0, 1 - (x / 1.15) ** 2))
        x, y = x + face.yaw * depth, y + face.pitch * depth
        cosine, sine = face.scale * np.cos(face.roll), face.scale * np.sin(face.roll)
        return np.stack((face.centre_x + cosine * x - sine * y, face.centre_y + sine * x + cosine * y), axis=1)

    def outlines(self, thinnest):
        """The polygon of each shape, in units of the picture's side; no line is thinner than `thinnest`."""
        x, y, _, relief, widths = zip(*self.shapes, strict=True)
        lengths = [len(part) for part in x]
        points = self.project(np.concatenate(x), np.concatenate(y), np.repeat(relief, lengths))
        found = np.split(points, np.cumsum(lengths)[:-1])
        lines = [number for number, width in enumerate(widths) if width is not None]
        width = np.maximum([widths[number] * self.face.scale for number in lines], thinnest)
        for number, outline in zip(lines, ribbons(np.stack([found[line] for line in lines]), width), strict=True):
            found[number] = outline
        return found

    def paint(self, size):
        """The shapes as a float array `(size, size)`, about [0, 255], antialiased, with the soft shades on."""
        large = size * SUPERSAMPLING
        canvas = Image.new("L", (large, large), round(self.face.background))
        brush = ImageDraw.Draw(canvas)
        for outline, (_, _, tone, _, _) in zip(self.outlines(0.8 / size), self.shapes, strict=True):
            # Whole pixels, so that the way PIL rounds floats cannot show.
            brush.polygon(np.rint(outline * large).astype(int).ravel().tolist(), fill=int(min(max(tone, 0), 255)))
        pixels = np.asarray(canvas.reduce(SUPERSAMPLING), float)
        x, y, width, height, amount = np.array(self.shades).T
        x, y = self.project(x, y, 1.0).T
        across = (np.arange(size) + 0.5) / size
        columns = np.exp(-(((across - x[:, None]) / (width * self.face.scale)[:, None]) ** 2))
        rows = np.exp(-(((across - y[:, None]) / (height * self.face.scale)[:, None]) ** 2))
        return pixels * (1 + (amount[:, None] * rows).T @ columns)


def ribbons(points, width):
    """The outlines `(m, 2n, 2)` of lines through `points` `(m, n, 2)`, widest in the middle."""
    along = np.empty_like(points)
    along[:, 1:-1] = points[:, 2:] - points[:, :-2]
    along[:, 0], along[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
    normal = along[..., ::-1] * (-1, 1) / np.maximum(np.hypot(along[..., :1], along[..., 1:]), 1e-9)
    offset = normal * (0.5 + 0.5 * features.ARCH)[:, None] * width[:, None, None] / 2
    return np.concatenate((points + offset, (points - offset)[:, ::-1]), axis=1)
