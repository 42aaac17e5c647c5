"""From a picture to named faces, with a confidence that means something, in true batches."""

import dataclasses
import functools

import numpy as np

from fer_keras.evaluation.calibration import with_temperature
from fer_keras.recognition.crops import crop
from fer_keras.recognition.detectors import find_detector
from fer_keras.recognition.photos import read_photo

DEFAULT_NETWORK = "fer-small"
UNCERTAIN = "uncertain"
MIN_CONFIDENCE = 0.5  # below it a name would be wrong more often than right


@dataclasses.dataclass(frozen=True)
class Face:
    """A face in a picture, and what it shows.

    Args:
        box: `(left, top, width, height)` in pixels of the upright picture.
        emotion: the likeliest class, or "uncertain" where its probability is too small.
        confidence: the calibrated probability of the likeliest class, in [0, 1].
        probabilities: dict from class to calibrated probability.
        detector_score: how sure the detector is that this is a face, in [0, 1].
    """

    box: tuple
    emotion: str
    confidence: float
    probabilities: dict
    detector_score: float


class Recognizer:
    """A detector and a network that work together.

    Args:
        network: name or path of a network, or an object like `models.weights.Network`.
        detector: "haar", None for pictures that are faces already, or an object with `.detect(rgb)`.
        min_confidence: float in [0, 1]; below it a face is "uncertain".
    """

    def __init__(self, network=DEFAULT_NETWORK, *, detector="haar", min_confidence=MIN_CONFIDENCE):
        self.network = open_network(network) if isinstance(network, str) else network
        self.detector = find_detector(detector)
        self.min_confidence = min_confidence

    @property
    def classes(self):
        """The tuple of class names."""
        return self.network.classes

    def detect(self, rgb):
        """Return the `Detection`s in a picture, the best first."""
        return self.detector.detect(rgb)

    def crops(self, rgb, boxes):
        """Return what the network sees of each box, uint8 `(n, height, width, 1)`."""
        found = [crop(rgb, box, self.network.size) for box in boxes]
        return np.stack(found) if found else np.zeros((0, *self.network.size, 1), np.uint8)

    def name_crops(self, crops):
        """Return the calibrated probabilities of crops, float32 `(n, classes)`."""
        return with_temperature(self.network.predict(crops), self.network.temperature).astype(np.float32)

    def probabilities(self, rgb, boxes):
        """Return the calibrated probabilities of the faces in boxes, float32 `(n, classes)`, in one batch."""
        return self.name_crops(self.crops(rgb, boxes))

    def faces(self, detections, probabilities):
        """Return the `Face` of each detection and its row of probabilities."""
        return [
            self.face(detection, values) for detection, values in zip(detections, probabilities.tolist(), strict=True)
        ]

    def face(self, detection, values):
        """Return one `Face`."""
        named = dict(zip(self.classes, values, strict=True))
        likeliest = max(named, key=named.get)
        confidence = named[likeliest]
        emotion = likeliest if confidence >= self.min_confidence else UNCERTAIN
        return Face(detection.box, emotion, confidence, named, detection.score)

    def recognize(self, source):
        """Return the `Face`s in one picture; none is an empty list."""
        return self.recognize_batch([source])[0]

    def recognize_batch(self, sources):
        """Return the `Face`s in each of several pictures, all of them one batch to the network."""
        detections, crops = [], []
        for source in sources:
            rgb = read_photo(source)
            detections.append(self.detect(rgb))
            crops.append(self.crops(rgb, [detection.box for detection in detections[-1]]))
        if not crops:
            return []
        rows = np.split(self.name_crops(np.concatenate(crops)), np.cumsum([len(part) for part in crops])[:-1])
        return [self.faces(*pair) for pair in zip(detections, rows, strict=True)]


def open_network(name):
    """Return a network by its name or path."""
    from fer_keras.models.weights import load

    return load(name)


@functools.lru_cache(maxsize=4)
def recognizer(**options):
    """Return the `Recognizer` of these options; asked again, the same one."""
    return Recognizer(**options)


def recognize(source, **options):
    """Return the `Face`s in one picture."""
    return recognizer(**options).recognize(source)
