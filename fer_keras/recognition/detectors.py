"""Where the faces are: YuNet, OpenCV's Haar cascade, MTCNN, a detector of one's own, or none; and how they are cut."""

import functools
import hashlib
import math
import os
import threading
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fer_keras import paths
from fer_keras.data.dataset import DataError, say

LONGEST_SIDE = 1024  # pixels; larger pictures are searched at this size, so that none takes minutes
SMALLEST_SHARE = 0.05  # of a picture's longer side: smaller faces are not sought unless asked for
SMALLEST_SIDE = 48  # pixels, that of FER-2013's faces: a network would see smaller ones enlarged
MAX_OVERLAP = 0.5  # two boxes that share more of the smaller one show one face
WINDOW = 20  # pixels, side of the smallest face that neural detectors find well
CASCADE = "haarcascade_frontalface_alt2.xml"
YUNET_ADDRESS = "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
YUNET_FILES = {  # with their SHA-256, the best first; both hold the same weights
    "face_detection_yunet_2026may.onnx": "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    "face_detection_yunet_2023mar.onnx": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
}
YUNET_BYTES = 1_000_000  # more than any of them
FETCH = "python -m fer_keras fetch yunet"


class Detection(NamedTuple):
    """A face found, or a region of a picture.

    Args:
        box: `(left, top, width, height)` in pixels.
        score: how sure the detector is, in [0, 1].
        angle: degrees, clockwise in the picture, by which the face is turned from upright.
    """

    box: tuple
    score: float
    angle: float = 0.0


class Framing(NamedTuple):
    """Where FER-2013's square lies on a detector's box; `benchmarks/detection.py` measures it.

    Args:
        scale: side of the square, in terms of the mean of the box's width and height.
        down: how far its centre lies below the box's, in the same terms.
    """

    scale: float = 1.0
    down: float = 0.0


class Detector:
    """Base of the detectors that hold what cannot be pickled: a copy is made anew, with the same options."""

    framing = Framing()

    def __init__(self, **options):
        self.options = options

    def __reduce__(self):
        return functools.partial(type(self), **self.options), ()


class Haar(Detector):
    """OpenCV's cascade of Haar features for frontal faces.

    Of OpenCV's cascades, the one that is used (`alt2`) takes the fewest other things for faces, in the least time:
    `benchmarks/detection.py` measures it beside the better known `default`. A score is the weight that the last stage
    of the cascade gives, brought to [0, 1] by the logistic function that fits best which detections were faces there.

    Args:
        min_size: float in (0, 1], side of the smallest face sought, as a share of the picture's longer side; None is
            0.05, but at least 48 pixels.
        scale_factor: float above 1, from one size of faces sought to the next.
        min_neighbors: int, how many hits around a place make a face.

    Raises:
        ImportError: if OpenCV is missing, or has no cascades, as OpenCV 5.
    """

    slope, middle = 1.14, 53.79  # of the score

    def __init__(self, *, min_size: float | None = None, scale_factor: float = 1.15, min_neighbors: int = 2):
        super().__init__(min_size=min_size, scale_factor=scale_factor, min_neighbors=min_neighbors)
        self.cascade = load_cascade(CASCADE)
        self.lock = threading.Lock()  # a cascade remembers the picture it is at
        self.min_size, self.scale_factor, self.min_neighbors = min_size, scale_factor, min_neighbors

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Find the faces in a picture, the best first."""
        factor = min(1.0, LONGEST_SIDE / max(rgb.shape[:2]))
        side = max(1, round(smallest_side(rgb, self.min_size) * factor))
        grey = np.asarray(scaled(rgb, factor).convert("L"))
        with self.lock:
            boxes, _, weights = self.cascade.detectMultiScale3(
                grey, self.scale_factor, self.min_neighbors, minSize=(side, side), outputRejectLevels=True
            )
        scores = [1 / (1 + math.exp(self.slope * (self.middle - weight))) for weight in np.ravel(weights)]
        return non_max_suppression(zip(boxes, scores, strict=True), rgb, factor)


class Mtcnn(Detector):
    """MTCNN of the package `mtcnn`, which needs TensorFlow.

    Reference:
        Zhang, Zhang, Li and Qiao (2016), Joint face detection and alignment using multitask cascaded convolutional
        networks, IEEE Signal Processing Letters 23 (10), arXiv:1604.02878.

    Args:
        min_size: as for `Haar`.

    Raises:
        ImportError: if the package is missing.
    """

    framing = Framing(scale=1.04)

    def __init__(self, *, min_size: float | None = None):
        super().__init__(min_size=min_size)
        try:
            from mtcnn import MTCNN
        except ImportError as error:
            raise ImportError(
                f"The detector 'mtcnn' needs its package: pip install fer_keras[mtcnn]. ({error})"
            ) from error
        self.network, self.min_size = MTCNN(), min_size

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Find the faces in a picture, the best first."""
        # Twice its window is the least it takes; asked by its own option for faces larger than that, it finds none.
        factor = window_factor(rgb, self.min_size, least=2 * WINDOW)
        found = self.network.detect_faces(np.asarray(scaled(rgb, factor))) if factor else []
        return non_max_suppression([(face["box"], face["confidence"]) for face in found], rgb, factor)


class Yunet(Detector):
    """YuNet, run by OpenCV, from its file of OpenCV's model zoo (`face_detection_yunet_….onnx`).

    Reference:
        Wu, Peng and Yu (2023), YuNet: a tiny millisecond-level face detector, Machine Intelligence Research 20.

    Args:
        file: path of the file.
        min_size: as for `Haar`.

    Raises:
        ValueError: if there is no such file, or OpenCV cannot read it.
        ImportError: if OpenCV is missing.
    """

    framing = Mtcnn.framing  # both learned from the boxes of WIDER FACE
    min_score = 0.6  # the default of its makers, 0.9, finds large frontal faces only

    def __init__(self, file: str | os.PathLike, *, min_size: float | None = None):
        file = Path(file)
        super().__init__(file=file, min_size=min_size)
        try:
            import cv2
        except ImportError as error:
            raise ImportError(
                f"The detector 'yunet' needs OpenCV: pip install fer_keras[recognition]. ({error})"
            ) from error
        if not file.is_file():
            raise ValueError(
                f"{file}: Expected YuNet's .onnx file, from OpenCV's model zoo. Received: no file there. "
                f"Fetch it ({FETCH}), or choose the detector 'haar' or 'mtcnn'."
            )
        try:
            self.network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), score_threshold=self.min_score)
            self.network.detect(np.zeros((320, 320, 3), np.uint8))  # another network fails only here
        except cv2.error as error:
            raise ValueError(f"{file}: Expected YuNet's .onnx file. Received: {str(error)[:200]}") from error
        self.lock = threading.Lock()  # it remembers the size of the picture it is at
        self.min_size = min_size

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Find the faces in a picture, the best first."""
        factor = window_factor(rgb, self.min_size, least=1)
        if factor is None:
            return []
        bgr = np.ascontiguousarray(np.asarray(scaled(rgb, factor))[..., ::-1])
        with self.lock:
            self.network.setInputSize(bgr.shape[1::-1])
            _, found = self.network.detect(bgr)
        found = np.zeros((0, 15)) if found is None else found
        return non_max_suppression(zip(found[:, :4], found[:, -1], strict=True), rgb, factor)


class WholePicture:
    """No detector: each picture is a face already."""

    framing = None  # the picture as it is

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """One `Detection`, the whole picture."""
        return [Detection((0, 0, rgb.shape[1], rgb.shape[0]), 1.0)]


def find_detector(name="auto", *, min_size: float | None = None):
    """Make a detector: an object with `detect(rgb)`, which returns `Detection`s, the best first.

    Its attribute `framing` says how FER-2013's square lies on its boxes (`Framing`); without one, a box is taken for
    that square.

    Args:
        name: "auto" (see `choose_detector`); "haar"; "mtcnn"; "yunet", from the file that `fetch_yunet` keeps or to
            which `FER_KERAS_YUNET` points; "yunet:PATH" with the path of its file; an object with `detect`, which
            comes back as it is; or None where every picture is a face already.
        min_size: float in (0, 1], side of the smallest face sought, as a share of the picture's longer side; None is
            0.05, but at least 48 pixels.

    Raises:
        ValueError: if there is no such detector, or the share is out of range.
        ImportError: if the detector's package is not installed.

    Example:

    >>> find_detector(None).detect(np.zeros((48, 40, 3), np.uint8))
    [Detection(box=(0, 0, 40, 48), score=1.0, angle=0.0)]
    """
    if min_size is not None and not 0 < min_size <= 1:
        raise ValueError(f"`min_size` must be a share in (0, 1] of a picture's longer side. Received: {min_size!r}.")
    if name is None:
        return WholePicture()
    if callable(getattr(name, "detect", None)):
        return name
    name = choose_detector() if name == "auto" else name
    if name == "haar":
        return Haar(min_size=min_size)
    if name == "mtcnn":
        return Mtcnn(min_size=min_size)
    if isinstance(name, str) and (name == "yunet" or name.startswith("yunet:")):
        return Yunet(name.removeprefix("yunet").removeprefix(":") or yunet_file(), min_size=min_size)
    raise ValueError(
        "`detector` must be 'auto', 'haar', 'mtcnn', 'yunet', 'yunet:PATH' with the path of its .onnx file, an object "
        f"with a method `detect`, or None where every picture is a face already. Received: {name!r}."
    )


def choose_detector() -> str:
    """Name of the detector that "auto" is: "yunet:PATH" if its file is at hand, else "haar"; said once, on stderr."""
    file = yunet_file()
    say_once(
        f"the detector is YuNet, from {file}"
        if file.is_file()
        else f"the detector is OpenCV's Haar cascade. YuNet finds more faces, in less time: {FETCH}"
    )
    return f"yunet:{file}" if file.is_file() else "haar"


say_once = functools.cache(say)


def yunet_file() -> Path:
    """Path of YuNet's file: where `FER_KERAS_YUNET` points, else in the cache, where it may be missing or damaged."""
    if os.environ.get("FER_KERAS_YUNET"):
        return Path(os.environ["FER_KERAS_YUNET"])
    files = [paths.cache() / name for name in YUNET_FILES]
    return next((file for file in files if file.is_file()), files[0])


def fetch_yunet(source: str | os.PathLike | None = None) -> Path:
    """Fetch YuNet's file (MIT licence) from OpenCV's model zoo on GitHub into the cache, if its sum is right.

    Args:
        source: path of a copy to take instead, for machines without a network.

    Returns:
        The path of the file.

    Raises:
        ValueError: if it cannot be had, or is not one of `YUNET_FILES`.
    """
    place = source or YUNET_ADDRESS + next(iter(YUNET_FILES))
    otherwise = f"Download it elsewhere from {YUNET_ADDRESS.replace('/raw/', '/tree/')}, and add --from PATH"
    try:
        with open(source, "rb") if source else urllib.request.urlopen(place, timeout=60) as file:
            content = file.read(YUNET_BYTES)
    except OSError as error:
        raise ValueError(f"{place}: Expected YuNet's file. Received: {error}. {otherwise}.") from error
    found = hashlib.sha256(content).hexdigest()
    name = next((name for name, known in YUNET_FILES.items() if known == found), None)
    if name is None:
        raise ValueError(
            f"{place}: Expected YuNet's file, whose SHA-256 is {' or '.join(YUNET_FILES.values())}. "
            f"Received: {len(content):,} bytes of {found}. {otherwise}."
        )
    paths.write_whole(paths.cache() / name, content)
    return paths.cache() / name


def load_cascade(name):
    """Load one of OpenCV's own cascades; an `ImportError` says what to do where it has none."""
    try:
        import cv2

        cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"The detector 'haar' needs OpenCV 4, whose successor has no cascades ({error}). Fetch YuNet ({FETCH}), "
            "install another OpenCV (pip install 'opencv-python-headless<5'), or choose another detector: 'mtcnn', "
            "'yunet:PATH', or None where every picture is a face already."
        ) from error
    if cascade.empty():
        raise ImportError(f"The detector 'haar' needs OpenCV's file {name}. This OpenCV has none: install it again.")
    return cascade


def smallest_side(rgb, min_size=None):
    """Side in pixels of the smallest face that is sought in a picture.

    Args:
        rgb: array `(height, width, 3)`.
        min_size: a share of the picture's longer side; None is `SMALLEST_SHARE`, at least `SMALLEST_SIDE` pixels, and
            no more than half of the shorter side, so that small pictures are searched too.
    """
    shorter, longer = sorted(rgb.shape[:2])
    if min_size is not None:
        return max(1, min_size * longer)
    return max(1, min(shorter / 2, max(SMALLEST_SIDE, SMALLEST_SHARE * longer)))


def window_factor(rgb, min_size, *, least):
    """Factor that makes the smallest face sought as large as the window, and the shorter side `least`; None if none."""
    shorter, longer = sorted(rgb.shape[:2])
    factor = max(WINDOW / smallest_side(rgb, min_size), least / shorter)
    factor = min(factor, LONGEST_SIDE / longer)
    return factor if factor * shorter >= least else None


def scaled(rgb, factor):
    """A PIL image that shows a picture at `factor` times its size."""
    picture = Image.fromarray(rgb)
    if factor == 1:
        return picture
    size = [max(1, round(side * factor)) for side in picture.size]
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def non_max_suppression(found, rgb: np.ndarray, factor: float | None = 1.0) -> list[Detection]:
    """Sort detections, the best first, cut them to the picture, and leave out those of a face that was found already.

    Args:
        found: iterable of `Detection`s, or of tuples like them, at `factor` times the picture's size.
        rgb: the picture at its full size.
        factor: float; it does not count where nothing was found.
    """
    height, width = rgb.shape[:2]
    kept = []
    for box, score, *angle in sorted(found, key=lambda each: -each[1]):
        left, top, across, down = (float(value) / factor for value in box)
        right, bottom = min(width, round(left + across)), min(height, round(top + down))
        left, top = max(0, round(left)), max(0, round(top))
        box = (left, top, right - left, bottom - top)
        if min(box[2:]) > 0 and all(shared(box, other.box) <= MAX_OVERLAP for other in kept):
            kept.append(Detection(box, min(1.0, max(0.0, float(score))), *map(float, angle)))
    return kept


def shared(box, other) -> float:
    """How much of the smaller of two boxes lies in the other, in [0, 1].

    Example:

    >>> shared((0, 0, 10, 10), (5, 0, 10, 20))
    0.5
    """
    return intersection(box, other) / min(box[2] * box[3], other[2] * other[3])


def overlap(box, other) -> float:
    """Intersection over union of two boxes `(left, top, width, height)`.

    Example:

    >>> overlap((0, 0, 2, 2), (1, 0, 2, 2))
    0.3333333333333333
    """
    both = intersection(box, other)
    return float(both / (box[2] * box[3] + other[2] * other[3] - both))


def intersection(box, other):
    """Area that two boxes have in common."""
    across = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    down = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(0, across) * max(0, down)


def to_square(detection: Detection, framing: Framing) -> Detection:
    """The square that shows a detected face as FER-2013 does, turned as the face is; it may leave the picture.

    Example:

    >>> to_square(Detection((100, 50, 40, 60), 1.0), Framing(scale=1.2, down=0.1)).box
    (90, 55, 60, 60)
    """
    left, top, width, height = detection.box
    size, turned = (width + height) / 2, math.radians(detection.angle)
    side = max(1, round(framing.scale * size))
    across = left + width / 2 - math.sin(turned) * framing.down * size
    down = top + height / 2 + math.cos(turned) * framing.down * size
    return detection._replace(box=(round(across - side / 2), round(down - side / 2), side, side))


def crop(rgb: np.ndarray, region: Detection, size: tuple) -> np.ndarray:
    """Cut out a region of a picture, turned upright, as a network takes it.

    Colour becomes grey by the luma that `data.images` uses, and shrinking averages. Beyond the picture's edge, its
    outermost pixels go on. A grey picture of the right size comes back pixel by pixel.

    Args:
        rgb: uint8 array `(height, width, 3)`.
        region: a `Detection`; its box is turned about its centre by its angle.
        size: `(height, width)` of the result.

    Returns:
        A uint8 array `(height, width, 1)`.

    Raises:
        DataError: if the box lies outside the picture.
    """
    left, top, width, height = region.box
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
    return np.asarray(Image.fromarray(grey).resize(tuple(size)[::-1], Image.Resampling.BILINEAR))[..., None]
