"""Recognise the expressions of the faces in pictures, with calibrated probabilities, in true batches."""

import dataclasses
import functools
import os
from collections import namedtuple
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from fer_keras.cards import check_predictions
from fer_keras.evaluation.calibration import with_temperature
from fer_keras.labels import check_classes
from fer_keras.recognition import detectors
from fer_keras.recognition.detectors import Detection, Framing, find_detector
from fer_keras.recognition.networks import open_network
from fer_keras.recognition.photos import ENOUGH_SIDE, open_photo

DEFAULT_NETWORK = "fer-small"
UNCERTAIN = "uncertain"
MIN_CONFIDENCE = 0.5  # probabilities are calibrated: below it, an answer would be wrong more often than right
Seen = namedtuple("Seen", "detections crops")  # of a picture; the crops wait for their batch


@dataclasses.dataclass(frozen=True)
class Face:
    """A face in a picture, and what it shows."""

    box: tuple  # (left, top, width, height) in pixels of the upright picture
    emotion: str  # the likeliest class, or "uncertain" where its probability is below `min_confidence`
    confidence: float  # the calibrated probability of the likeliest class, in [0, 1]
    probabilities: dict = dataclasses.field(hash=False)  # from every class to its calibrated probability; they sum to 1
    detector_score: float  # how sure the detector is that this is a face, in [0, 1]


class Recognizer:
    """A detector and a network that work together.

    Args:
        network: name of a network that ships or of a recipe trained on this machine, path of an `.onnx`, `.keras` or
            `.h5` file, a `keras.Model`, or an object like `networks.OnnxNetwork`.
        classes: class names in the order of the network's outputs, for a `keras.Model` and for a file without a card.
        detector: "auto", "haar", "yunet", "mtcnn", an object, or None, as for `detectors.find_detector`; so `min_size`.
        min_confidence: float in [0, 1]; a face whose likeliest class is less probable is called "uncertain".
        mirrored: average over each face and its mirror image: somewhat more accurate, for twice the network's work.

    Raises:
        ValueError: if there is no such network or detector, or a number is out of range.
        ImportError: if the detector or the network needs a package that is not installed.
    """

    def __init__(
        self, network: Any = DEFAULT_NETWORK, *, classes: Sequence[str] | None = None, detector: Any = "auto",
        min_confidence: float = MIN_CONFIDENCE, min_size: float | None = None, mirrored: bool = False,
    ):  # fmt: skip
        if not (isinstance(min_confidence, Real) and 0 <= min_confidence <= 1):
            raise ValueError(f"`min_confidence` must be in [0, 1]. Received: {min_confidence!r}.")
        self.min_confidence, self.mirrored = min_confidence, mirrored
        self.detector = find_detector(detector, min_size=min_size)
        self.network = open_network(network, classes=classes)
        if UNCERTAIN in self.network.classes:
            raise ValueError(f"Expected classes other than {UNCERTAIN!r}, as doubtful faces are called. Rename it.")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.network.classes

    def recognize(self, source: Any) -> list[Face]:
        """Recognise the faces in one picture, as the function `recognize` does."""
        return self.recognize_batch([source])[0]

    def recognize_batch(self, sources: Iterable) -> list[list[Face]]:
        """Recognise the faces in each of several pictures, an iterable of what `recognize` takes, in one batch."""
        is_one = isinstance(sources, str | bytes | bytearray | memoryview) or hasattr(sources, "read")
        is_array = isinstance(sources, np.ndarray) and sources.ndim > 1 and np.prod(sources.shape[2:]) < 5  # channels
        if is_one or is_array or not isinstance(sources, Iterable):
            received = type(sources).__name__
            raise ValueError(f"Expected several pictures, such as a list. Received: {received}. Pass [picture].")
        return self.recognize_seen([self.see(source) for source in sources])

    def see(self, source: Any) -> Seen:
        """Find the faces in a picture, in pixels of the picture at its full size, and cut them out."""
        rgb, size, _ = open_photo(source, side=ENOUGH_SIDE)
        detections = self.detect(rgb)
        at_full_size = [each._replace(box=scaled_box(each.box, rgb.shape, size)) for each in detections]
        return Seen(at_full_size, self.crops(rgb, detections))

    def recognize_seen(self, pictures: list[Seen]) -> list[list[Face]]:
        """Recognise the faces in each of several pictures that were `Seen`, in one batch."""
        if not pictures:
            return []
        ends = np.cumsum([len(seen.crops) for seen in pictures])
        rows = np.split(self.calibrated(np.concatenate([seen.crops for seen in pictures])), ends[:-1])
        return [self.faces(seen.detections, found) for seen, found in zip(pictures, rows, strict=True)]

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """Find the faces in a picture, uint8 RGB `(height, width, 3)`, the best first."""
        try:
            return detectors.non_max_suppression(self.detector.detect(rgb), rgb)
        except Exception as error:  # one's own detector may raise any
            what = f"`Detection`s or `(box, score)` of finite numbers. Received: {type(error).__name__}: {error}"
            raise ValueError(f"The detector {type(self.detector).__name__}: Expected {what}") from error

    def crops(self, rgb: np.ndarray, detections: list[Detection]) -> np.ndarray:
        """Detected faces as the network takes them, uint8 `(n, height, width, 1)`."""
        found = [detectors.crop(rgb, square, self.network.size) for square in self.squares(detections)]
        return np.stack(found) if found else np.zeros((0, *self.network.size, 1), np.uint8)

    def squares(self, detections: list[Detection]) -> list[Detection]:
        """Region to cut out for each detection: itself where the detector's framing is None, else a square."""
        framing = getattr(self.detector, "framing", Framing())
        return detections if framing is None else [detectors.to_square(each, framing) for each in detections]

    def calibrated(self, crops: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of crops, float32 `(n, classes)`."""
        temperature, predictions = self.network.temperature, check_predictions(self.network, crops)
        if self.mirrored:
            predictions = (predictions + check_predictions(self.network, crops[:, :, ::-1])) / 2
            temperature = self.network.card.get("temperature_mirrored", temperature)
        return with_temperature(predictions, temperature).astype(np.float32)

    def faces(self, detections: list[Detection], probabilities: np.ndarray) -> list[Face]:
        """A `Face` for each detection and its row of `probabilities`."""
        found = []
        for detection, values in zip(detections, np.asarray(probabilities).tolist(), strict=True):
            confidence, by_class = max(values), dict(zip(self.classes, values, strict=True))
            emotion = max(by_class, key=by_class.get) if confidence >= self.min_confidence else UNCERTAIN
            found.append(Face(detection.box, emotion, confidence, by_class, detection.score))
        return found


def scaled_box(box, shape, size):
    """A box in a picture of `shape` as one in the same picture of `size`."""
    down, across = size[0] / shape[0], size[1] / shape[1]
    left, top, width, height = box
    left, right = round(left * across), min(size[1], round((left + width) * across))
    top, bottom = round(top * down), min(size[0], round((top + height) * down))
    return left, top, right - left, bottom - top


def recognize(source: Any, **options: Any) -> list[Face]:
    """Recognise the faces in a picture, the one that the detector is surest of first.

    Nothing leaves the machine. Detector and network are loaded at the first call and kept for the next.

    Args:
        source: path of a picture, its bytes, a data URL, an open file, a PIL image, or an array `(height, width)` or
            `(height, width, channels)` of uint8 or uint16.
        options: `network`, `classes`, `detector`, `min_confidence`, `min_size` and `mirrored`, as for `Recognizer`.

    Raises:
        DataError: if the source is no picture.
        ValueError: on other options, as `Recognizer`.
    """
    return recognizer(**options).recognize(source)


def recognizer(network=DEFAULT_NETWORK, *, classes=None, detector="auto", min_size=None, **options) -> Recognizer:
    """Make a `Recognizer` whose parts are those of an earlier one where they have the same names."""
    if isinstance(network, str | os.PathLike):
        changed = os.stat(network).st_mtime_ns if os.path.isfile(network) else None  # since: it is opened anew
        classes = None if classes is None else check_classes(classes)
        network, classes = kept_network(os.fspath(network), classes, changed), None
    if isinstance(detector, str) and isinstance(min_size, Real | None):  # others are refused below
        detector = detectors.choose_detector() if detector == "auto" else detector
        detector, min_size = kept_detector(detector, min_size), None
    return Recognizer(network, classes=classes, detector=detector, min_size=min_size, **options)


kept_network = functools.lru_cache(maxsize=4)(lambda name, classes, changed: open_network(name, classes=classes))
kept_detector = functools.lru_cache(maxsize=4)(lambda name, min_size: find_detector(name, min_size=min_size))
