"""Where the faces are: YuNet, OpenCV's Haar cascade, MTCNN, a detector of one's own, or none; and how they are cut."""

import functools
import hashlib
import math
import os
import threading
import urllib.request
from http.client import HTTPException
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fer_keras import paths
from fer_keras.data.dataset import DataError, say
from fer_keras.names import import_part

LONGEST_SIDE = 1024  # pixels; larger pictures are searched at this size, so that none takes minutes
LEAST_FACE = 48  # pixels; smaller ones would be enlarged for a network of FER-2013
WIDE = 2.5  # times as long as wide; more is searched in parts, each at a size at which its faces can be found
CLOSE_SIDE = 224  # pixels, of the square in which YuNet looks at a face again: its eyes lie right in large faces only
YUNET_ADDRESS = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
YUNET_FILES = {  # with their SHA-256, the best first; both hold the same weights
    "face_detection_yunet_2026may.onnx": "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    "face_detection_yunet_2023mar.onnx": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
}
FETCH = "python -m fer_keras fetch yunet"
say_once = functools.cache(say)


class Detection(NamedTuple):
    """A face found, or a region of a picture."""

    box: tuple  # (left, top, width, height) in pixels
    score: float  # how sure the detector is, in [0, 1]
    angle: float = 0.0  # degrees, clockwise in the picture, by which the face is turned from upright


class Framing(NamedTuple):
    """Where FER-2013's square lies on a detector's box; `benchmarks/detection.py` measures it."""

    scale: float = 1.0  # side of the square, in terms of the mean of the box's width and height
    down: float = 0.0  # how far its centre lies below the box's, in the same terms


class Detector:
    """Base of the detectors, which `find` faces from `side` pixels on; a copy is made anew, with the same options."""

    framing = Framing()

    def __init__(self, *, min_size=None, **options):
        self.min_size, self.options = min_size, options

    def __reduce__(self):
        return functools.partial(type(self), min_size=self.min_size, **self.options), ()

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Find the faces in a picture, the best first; in one that is long and narrow, part by part."""
        shorter, longer = sorted(rgb.shape[:2])
        is_narrow = longer > WIDE * shorter and shorter >= LEAST_FACE
        length = min(longer, max(2 * shorter, LONGEST_SIDE)) if is_narrow else longer
        usual = min(shorter / 2, max(LEAST_FACE, 0.05 * length))
        side = max(1, usual if self.min_size is None else self.min_size * longer)
        if length == longer:
            return self.find(rgb, side)
        axis, found = rgb.shape.index(shorter), []
        for start in range(0, longer - shorter, length - shorter):  # any face lies whole in one part
            left, top = (0, start) if axis else (start, 0)
            for each in self.find(np.ascontiguousarray(rgb[top : top + length, left : left + length]), side):
                first, last = each.box[axis], each.box[axis] + each.box[axis + 2]
                if (first > 0 or start == 0) and (last < length or start + length >= longer):  # else it is cut
                    found.append(each._replace(box=(left + each.box[0], top + each.box[1], *each.box[2:])))
        return non_max_suppression(found, rgb)


class Haar(Detector):
    """OpenCV's cascade of Haar features for frontal faces.

    Of OpenCV's cascades, `alt2` takes the fewest other things for faces, in the least time. A score is the weight of
    its last stage, brought to [0, 1] by the logistic function that fits best in `benchmarks/detection.py`.
    """

    cascade_file = "haarcascade_frontalface_alt2.xml"
    slope, middle = 1.14, 53.79  # of the score

    def __init__(self, *, min_size: float | None = None):
        super().__init__(min_size=min_size)
        try:
            import cv2

            self.cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / self.cascade_file))
        except (ImportError, AttributeError) as error:
            needs = f"The detector 'haar' needs OpenCV 4: OpenCV 5 has no cascades ({error}). Fetch YuNet ({FETCH})"
            install = "install OpenCV 4 (pip install 'opencv-python-headless<5'), or choose another detector"
            others = "'mtcnn', 'yunet:PATH', or None where every picture is a face already."
            raise ImportError(f"{needs}, or {install}: {others}") from error
        if self.cascade.empty():
            raise ImportError(f"The detector 'haar' needs OpenCV's file {self.cascade_file}: install OpenCV again.")
        self.lock = threading.Lock()  # a cascade remembers the picture it is at

    def find(self, rgb, side):
        factor = min(1.0, LONGEST_SIDE / max(rgb.shape[:2]))
        side = max(1, round(side * factor))
        grey = np.asarray(scaled(rgb, factor).convert("L"))
        options = {"scaleFactor": 1.15, "minNeighbors": 2, "minSize": (side, side), "outputRejectLevels": True}
        with self.lock:
            boxes, _, weights = self.cascade.detectMultiScale3(grey, **options)
        scores = [1 / (1 + math.exp(self.slope * (self.middle - weight))) for weight in np.ravel(weights)]
        return non_max_suppression(zip(boxes, scores, strict=True), rgb, factor)


class Mtcnn(Detector):
    """MTCNN of the package `mtcnn`, which needs TensorFlow.

    Reference:
        Zhang, Zhang, Li and Qiao (2016), Joint face detection and alignment using multitask cascaded convolutional
        networks, IEEE Signal Processing Letters 23 (10), arXiv:1604.02878.
    """

    framing = Framing(scale=1.04)
    window = 20  # pixels, of the smallest face that it finds well

    def __init__(self, *, min_size: float | None = None):
        super().__init__(min_size=min_size)
        self.network = import_part("mtcnn").MTCNN()

    def find(self, rgb, side):
        # Twice its window is the least it takes; asked by its own option for faces larger than that, it finds none.
        factor = window_factor(rgb, side, self.window, least=2 * self.window)
        found = self.network.detect_faces(np.asarray(scaled(rgb, factor))) if factor else []
        eyes = [(face["keypoints"]["left_eye"], face["keypoints"]["right_eye"]) for face in found]  # as one sees them
        found = [(face["box"], face["confidence"], tilt(*pair)) for face, pair in zip(found, eyes, strict=True)]
        return non_max_suppression(found, rgb, factor)


class Yunet(Detector):
    """YuNet, run by OpenCV, from its file of OpenCV's model zoo (`face_detection_yunet_….onnx`).

    Reference:
        Wu, Peng and Yu (2023), YuNet: a tiny millisecond-level face detector, Machine Intelligence Research 20.
    """

    framing, close_framing = Framing(scale=1.02, down=-0.02), Framing(scale=1.3)
    window = 48  # pixels, of the smallest face: so pictures of up to 960 pixels are searched as they are
    min_score = 0.5  # the default of its makers, 0.9, finds large frontal faces only
    worth_a_look = 0.2  # faces of lower scores are not looked at again

    def __init__(self, file: str | os.PathLike, *, min_size: float | None = None):
        file = Path(file)
        super().__init__(min_size=min_size, file=file)
        cv2, place = import_part("cv2"), paths.opencv_path(file)
        try:
            if not os.path.isfile(file):
                raise FileNotFoundError(paths.describe(file))
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            if found != YUNET_FILES.get(file.name, found) and file.parent == paths.cache():
                raise FileNotFoundError(f"another file than was fetched, SHA-256 {found}")
            options = {"score_threshold": self.worth_a_look}  # a network is slow to change the size of its pictures
            self.whole, self.close = (cv2.FaceDetectorYN.create(place, "", (320, 320), **options) for _ in range(2))
            self.lock = threading.Lock()  # they remember the picture that they are at
            self.search(self.close, np.zeros((CLOSE_SIDE, CLOSE_SIDE, 3), np.uint8))  # another network fails only here
        except (OSError, cv2.error) as error:
            received = f"Received: {str(error)[:200]}. Fetch it: {FETCH}"
            raise ValueError(f"{file}: Expected YuNet's .onnx file. {received}") from error

    def find(self, rgb, side):
        factor = window_factor(rgb, side, self.window, least=1)
        found = self.search(self.whole, np.asarray(scaled(rgb, factor))[..., ::-1]) if factor else ()
        found = non_max_suppression([(row[:4], row[-1]) for row in found], rgb, factor)
        found = [self.look_closely(rgb, each) for each in found]
        return sorted((each for each in found if each.score >= self.min_score), key=lambda each: -each.score)

    def search(self, network, bgr):
        """Rows of the box, the points of both eyes, nose and both corners of the mouth, and the score."""
        with self.lock:
            network.setInputSize(bgr.shape[1::-1])
            _, found = network.detect(np.ascontiguousarray(bgr))
        found = np.zeros((0, 15)) if found is None else found
        return found[np.isfinite(found).all(axis=1)]  # a picture of one colour gives some NaN

    def look_closely(self, rgb, detection):
        """The face, looked at again alone: the better of both scores, and its angle by its eyes, 0.0 if not seen."""
        close = crop(rgb, to_square(detection, self.close_framing), (CLOSE_SIDE, CLOSE_SIDE)).repeat(3, axis=-1)
        found = self.search(self.close, close)
        away = np.abs(found[:, :2] + found[:, 2:4] / 2 - CLOSE_SIDE / 2).max(axis=1)
        if not len(found) or away.min() > CLOSE_SIDE / 4:
            return detection
        face = found[away.argmin()]
        return detection._replace(score=max(detection.score, float(face[-1])), angle=tilt(face[4:6], face[6:8]))


class WholePicture:
    """No detector: each picture is a face already."""

    framing = None

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """One `Detection`, the whole picture."""
        return [Detection((0, 0, rgb.shape[1], rgb.shape[0]), 1.0)]


def find_detector(name="auto", *, min_size: float | None = None):
    """Make a detector: an object with `detect(rgb)`, which returns `Detection`s, the best first.

    Its attribute `framing` says how FER-2013's square lies on its boxes (`Framing`); without one, a box is taken for
    that square. Those of this module search a picture that is more than 2.5 times as long as wide in parts.

    Args:
        name: "auto" (see `choose_detector`); "haar"; "mtcnn"; "yunet", from the file that `fetch_yunet` keeps or to
            which `FER_KERAS_YUNET` points; "yunet:PATH" with the path of its file; an object with `detect`, which
            comes back as it is; or None where every picture is a face already.
        min_size: float in (0, 1], side of the smallest face sought, as a share of the picture's longer side; None is
            0.05 (of a part: of its own longer side), but at least 48 pixels.

    Raises:
        ValueError: if there is no such detector, or the share is out of range.
        ImportError: if the detector's package is not installed.

    Example:

    >>> find_detector(None).detect(np.zeros((48, 40, 3), np.uint8))
    [Detection(box=(0, 0, 40, 48), score=1.0, angle=0.0)]
    """
    if min_size is not None and not (isinstance(min_size, Real) and 0 < min_size <= 1):
        raise ValueError(f"`min_size` must be a share in (0, 1] of a picture's longer side. Received: {min_size!r}.")
    if name is None:
        return WholePicture()
    if callable(getattr(name, "detect", None)):
        framing = getattr(name, "framing", None)
        if framing is not None and not (isinstance(framing, Framing) and 0 < framing.scale < 10 > abs(framing.down)):
            raise ValueError(f"`framing` must be a `Framing` of a scale in (0, 10), or None. Received: {framing!r}.")
        return name
    name = choose_detector() if name == "auto" else name
    if name in ("haar", "mtcnn"):
        return (Haar if name == "haar" else Mtcnn)(min_size=min_size)
    if isinstance(name, str) and (name == "yunet" or name.startswith("yunet:")):
        return Yunet(name.removeprefix("yunet").removeprefix(":") or yunet_file() or paths.cache(), min_size=min_size)
    expected = "'auto', 'haar', 'mtcnn', 'yunet', 'yunet:PATH' with the path of its .onnx file, an object with `detect`"
    raise ValueError(f"`detector` must be {expected}, or None where every picture is a face. Received: {name!r}.")


def choose_detector() -> str:
    """Name of the detector that "auto" is: "yunet:PATH" if its file is at hand, else "haar"; named once, on stderr."""
    file = yunet_file()
    if file and file.is_file():
        say_once(f"the detector is YuNet, from {file}")
        return f"yunet:{file}"
    say_once(f"the detector is OpenCV's Haar cascade. YuNet finds more faces, in less time: {FETCH}")
    return "haar"


def yunet_file() -> Path | None:
    """Path of YuNet's file: as `FER_KERAS_YUNET` says, else in the cache, where it may be missing; None without one."""
    if named := paths.asked("FER_KERAS_YUNET"):
        if not os.path.isfile(named):
            expected = "Expected the path of YuNet's .onnx file, or no such variable"
            raise ValueError(f"FER_KERAS_YUNET={named}: {expected}. Received: {paths.describe(named)}.")
        return named
    try:
        files = [paths.cache() / name for name in YUNET_FILES]
    except ValueError:  # no home folder, in which it would be
        return None
    return next((file for file in files if file.is_file()), files[0])


def fetch_yunet(source: str | os.PathLike | None = None) -> Path:
    """Fetch YuNet's file (MIT licence) from OpenCV's model zoo on GitHub into the cache, if its sum is right.

    A copy, `source`, is for machines without a network. A `ValueError` refuses what is not one of `YUNET_FILES`.
    """
    place = source or YUNET_ADDRESS + next(iter(YUNET_FILES))
    otherwise = f"Download it elsewhere from {YUNET_ADDRESS.replace('/raw/', '/tree/')}, and add --from PATH"
    try:
        with open(source, "rb") if source else urllib.request.urlopen(place, timeout=60) as file:
            content = file.read(1_000_000)  # more than any of them has
    except (OSError, HTTPException) as error:
        raise ValueError(f"{place}: Expected YuNet's file. Received: {error}. {otherwise}.") from error
    found = hashlib.sha256(content).hexdigest()
    name = next((name for name, known in YUNET_FILES.items() if known == found), None)
    if name is None:
        expected = f"Expected YuNet's file, whose SHA-256 is {' or '.join(YUNET_FILES.values())}"
        raise ValueError(f"{place}: {expected}. Received: {len(content):,} bytes of {found}. {otherwise}.")
    paths.write_whole(paths.cache() / name, content)
    return paths.cache() / name


def tilt(eye, other):
    """Degrees, clockwise in the picture, by which the line from the eye on the left to the other is turned."""
    return math.degrees(math.atan2(other[1] - eye[1], other[0] - eye[0]))


def window_factor(rgb, side, window, *, least):
    """Factor that makes a face of `side` pixels as large as the window, and the shorter side `least`; None if none."""
    shorter, longer = sorted(rgb.shape[:2])
    factor = min(max(window / side, least / shorter), LONGEST_SIDE / longer)
    return factor if factor * shorter >= least else None


def scaled(rgb, factor):
    """A PIL image that shows a picture at `factor` times its size."""
    picture = Image.fromarray(rgb)
    size = tuple(max(1, round(side * factor)) for side in picture.size)
    return picture if factor == 1 else picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def non_max_suppression(found, rgb: np.ndarray, factor: float | None = 1.0) -> list[Detection]:
    """Detections at `factor` times the picture's size as `Detection`s cut to it: the best first, one for each face."""
    (height, width), kept = rgb.shape[:2], []
    for box, score, *angle in sorted(found, key=lambda each: -each[1]):
        left, top, across, down = (float(value) / factor for value in box)
        if not math.isfinite(sum((left, top, across, down, score, *angle))):
            raise ValueError(f"Expected finite numbers. Received: {box}, {score}.")
        right, bottom = min(width, round(left + across)), min(height, round(top + down))
        left, top = max(0, round(left)), max(0, round(top))
        box = (left, top, right - left, bottom - top)
        if min(box[2:]) > 0 and all(shared(box, other.box) <= 0.5 for other in kept):  # else they show one face
            kept.append(Detection(box, min(1.0, max(0.0, float(score))), *map(float, angle)))
    return kept


def shared(box, other) -> float:
    """How much of the smaller of two boxes lies in the other, in [0, 1]."""
    return intersection(box, other) / min(box[2] * box[3], other[2] * other[3])


def overlap(box, other) -> float:
    """Intersection over union of two boxes `(left, top, width, height)`."""
    both = intersection(box, other)
    return float(both / (box[2] * box[3] + other[2] * other[3] - both))


def intersection(box, other):
    """Area that two boxes have in common."""
    across = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    down = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(0, across) * max(0, down)


def to_square(detection: Detection, framing: Framing) -> Detection:
    """The square that shows a detected face as FER-2013 does, turned as the face is; it may leave the picture."""
    left, top, width, height = detection.box
    size, turned = (width + height) / 2, math.radians(detection.angle)
    side = max(1, round(framing.scale * size))
    across = left + width / 2 - math.sin(turned) * framing.down * size
    down = top + height / 2 + math.cos(turned) * framing.down * size
    return detection._replace(box=(round(across - side / 2), round(down - side / 2), side, side))


def crop(rgb: np.ndarray, region: Detection, size: tuple) -> np.ndarray:
    """Cut a region, turned upright about its centre, out of a picture: uint8 `(height, width, 1)` of `size`.

    Colour becomes grey by the luma that `data.images` uses, and shrinking averages. Beyond the picture's edge, its
    outermost pixels go on. A grey picture of the right size comes back pixel by pixel.
    """
    left, top, width, height = region.box
    if region.angle:  # all that the turned box may show
        reach = math.ceil(math.hypot(width, height) / 2) + 1
        left, top = math.floor(left + width / 2) - reach, math.floor(top + height / 2) - reach
        width = height = 2 * reach + 1
    rows = slice(max(0, top), max(0, top + height))
    columns = slice(max(0, left), max(0, left + width))
    inside = rgb[rows, columns]
    if not inside.size:
        raise DataError(f"Expected a box on a picture of {rgb.shape[1]}x{rgb.shape[0]} pixels. Received: {region.box}.")
    grey = np.asarray(Image.fromarray(np.ascontiguousarray(inside)).convert("L"))
    above, before = rows.start - top, columns.start - left
    below, after = height - above - len(grey), width - before - grey.shape[1]
    if above or before or below or after:
        grey = np.pad(grey, ((above, below), (before, after)), mode="edge")
    found = Image.fromarray(grey)
    if region.angle:
        found = turned_upright(found, region, (left, top), size)
    return np.asarray(found.resize(tuple(size)[::-1], Image.Resampling.BILINEAR))[..., None]


def turned_upright(grey, region, corner, size):
    """The turned box in a grey PIL image that begins at `corner`, upright, at no more than twice the size asked for."""
    sides, enough = region.box[2:], [2 * side for side in size[::-1]]
    shrink = max(1, min(sides[0] // enough[0], sides[1] // enough[1]))
    result = tuple(max(1, round(min(side / shrink, most))) for side, most in zip(sides, enough, strict=True))
    across, down = sides[0] / shrink / result[0], sides[1] / shrink / result[1]  # pixels of the reduced image a pixel
    cos, sin = math.cos(math.radians(region.angle)), math.sin(math.radians(region.angle))
    matrix = np.array([[cos * across, -sin * down], [sin * across, cos * down]])
    middle = (np.add(region.box[:2], np.divide(sides, 2)) - corner) / shrink
    first = middle - matrix @ np.divide(result, 2)
    affine = np.column_stack([matrix, first]).ravel()
    return grey.reduce(shrink).transform(result, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
