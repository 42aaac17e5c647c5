"""Draws one grey face from a table of proportions, actions and pose, with NumPy and PIL only.

Face coordinates: the eyes lie at y = 0, x = 0 is the midline, one unit is half the width of the face, y points down.
The names of the actions follow the Facial Action Coding System.

Reference: Ekman, Friesen and Hager (2002), Facial Action Coding System.
"""

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 4
# From one end of a feature to the other, closer at the ends, where lips and lids bend most.
ALONG = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 13))
# 1 in the middle of a feature, 0 at its ends.
ARCH = np.cos(np.linspace(-np.pi / 2, np.pi / 2, 13)) ** 2
TURN = np.linspace(0, 2 * np.pi, 37)[:-1]
SIDES = (-1, 1)


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
        """Add a line with thin ends through `len(ALONG)` points; `width` is that of its middle, in face units."""
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
        """Return the polygon of each shape, in units of the picture's side; no line is thinner than `thinnest`."""
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
        """Return the shapes as a float array `(size, size)`, about [0, 255], antialiased, with the soft shades on."""
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
    """Return the outlines `(m, 2n, 2)` of lines through `points` `(m, n, 2)`, widest in the middle."""
    along = np.empty_like(points)
    along[:, 1:-1] = points[:, 2:] - points[:, :-2]
    along[:, 0], along[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
    normal = along[..., ::-1] * (-1, 1) / np.maximum(np.hypot(along[..., :1], along[..., 1:]), 1e-9)
    offset = normal * (0.5 + 0.5 * ARCH)[:, None] * width[:, None, None] / 2
    return np.concatenate((points + offset, (points - offset)[:, ::-1]), axis=1)


def surroundings(sketch, face):
    """Draw what is behind the head: a patch of another tone, hair that falls behind, the neck and the clothes."""
    edge = face.backdrop_edge
    sketch.area(np.array([edge, 3, 3, edge + 0.5]), np.array([-3, -3, 3, 3]), face.backdrop, 0)
    if face.hair_style in ("long", "afro"):
        reach = 1.15 if face.hair_style == "long" else 1.3
        y = np.sin(TURN) * 1.4 - 0.1
        if face.hair_style == "long":
            y = np.where(y > 0, y * 2.0, y)
        sketch.area(reach * np.cos(TURN), y, face.hair, 0)
    sketch.area(np.array([-0.6, 0.6, 0.7, -0.7]), np.array([0.8, 0.8, 3, 3]), 0.72 * face.skin, 0)
    sketch.area(np.array([-2, -0.7, 0, 0.7, 2]), np.array([3, 1.75, 2.0, 1.75, 3]), face.clothes, 0)


def head(sketch, face):
    """Draw ears and skull with their large soft shades."""
    for side in SIDES:
        x = side * (face.width + 0.02) + 0.12 * np.cos(TURN[::3])
        sketch.area(x, 0.15 + 0.26 * np.sin(TURN[::3]), 0.85 * face.skin, 0)
    x, y = outline(face)
    sketch.area(x, y, face.skin, 0)
    for side in SIDES:
        sketch.shade(side * 1.02, 0.5, 0.22, 1.0, -0.26)
        sketch.shade(side * 0.45, -0.06, 0.26, 0.16, -0.15)
        lifted = face.cheek_raise + 0.5 * face.corner_pull
        sketch.shade(side * 0.55, 0.5 - 0.1 * lifted, 0.26, 0.2, 0.05 + 0.1 * lifted)
    sketch.shade(0, -0.55, 0.5, 0.22, 0.08)
    sketch.shade(0, chin_of(face) + 0.18, 0.6, 0.18, -0.2)


def outline(face):
    """Return the x and y of the skull's outline; a dropped jaw makes it longer."""
    x, y = np.cos(TURN), np.sin(TURN)
    x = face.width * np.sign(x) * np.abs(x) ** np.where(y > 0, face.jaw, 1)
    return x, np.where(y > 0, y * chin_of(face), y * 1.3)


def chin_of(face):
    """Return the y of the chin."""
    return face.chin + 0.16 * face.jaw_drop - 0.03 * face.chin_raise


def beard(sketch, face):
    """Draw a beard along the jaw and above the lip, or the soft shadow of a shaven one."""
    if face.beard_style == "stubble":
        sketch.shade(0, face.chin - 0.2, 0.75, 0.32, -0.22)
        sketch.shade(0, face.mouth_y - 0.16, 0.3, 0.1, -0.15)
    if face.beard_style == "full":
        reach = 0.97 * np.abs(ALONG)
        cheek = 0.3 * np.exp(-(((reach - 0.62) / 0.2) ** 2)) - 0.75 * reach**8
        jaw = chin_of(face) * np.sqrt(1 - reach ** (2 / face.jaw))
        top = np.minimum(face.mouth_y - 0.17 + cheek, jaw)
        sketch.band(0.97 * face.width * ALONG, top, jaw, 0.8 * face.brow + 0.2 * face.skin, 0.35)


def hair(sketch, face):
    """Draw the hair in front of the skull, down to the hairline."""
    if face.hair_style == "bald":
        sketch.shade(0.2, -0.8, 0.3, 0.2, 0.15)
        return
    x = 1.06 * face.width * ALONG
    top = -(1.54 if face.hair_style == "afro" else 1.42) * np.sqrt(np.maximum(ARCH, 0.02))
    line = face.hairline + (0.25 if face.hair_style == "long" else 0.55) * np.abs(ALONG) ** 4
    if face.hair_style == "fringe":
        line = line + 0.12 - 0.05 * (-1.0) ** np.arange(len(line))
    if face.hair_style == "parted":
        line = line + 0.2 * np.abs(ALONG - face.parting) - 0.1
    sketch.band(x, top, line, face.hair, 0.45)
    for height, tone in ((0.15, 0.8), (0.35, 1.25), (0.55, 0.8), (0.75, 1.25)):
        part = 0.8 * ALONG * (1 - 0.3 * height)
        strand = np.interp(part, ALONG, line + height * (top - line)) + 0.05 * face.parting * np.sin(9 * part)
        sketch.stroke(1.06 * face.width * part, strand, tone * face.hair, 0.06, 0.45)


def extras(sketch, face):
    """Draw glasses, and the fist or the microphone that hides a part of the face now and then."""
    if face.glasses:
        for side in SIDES:
            x = side * face.eye_gap + 1.45 * face.eye_width * np.cos(TURN)
            y = 0.03 + face.glasses_height * np.sin(TURN)
            for start in (0, 12, 24):
                part = np.arange(start, start + 13) % 36
                sketch.stroke(x[part], y[part], face.glasses_tone, 0.09, 1.1)
            temple = np.linspace(face.eye_gap + 1.4 * face.eye_width, 1.0, len(ALONG))
            sketch.stroke(side * temple, 0 * temple - 0.03, face.glasses_tone, 0.06, 0.9)
        bridge = (face.eye_gap - 1.4 * face.eye_width) * ALONG
        sketch.stroke(bridge, -0.02 - 0.04 * ARCH, face.glasses_tone, 0.07, 1.2)
    if face.occluded:
        x, y = face.occluder_x + 0.3 * np.cos(TURN), face.occluder_y + 0.38 * np.sin(TURN)
        sketch.area(x, y, face.occluder_tone, 1.0)
