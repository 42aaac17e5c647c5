"""Where the faces are: OpenCV's Haar cascade, a neural network, a detector of one's own, or none at all."""

import math
import threading
from pathlib import Path

import numpy as np

from fer_keras.recognition.boxes import LONGEST_SIDE, Detection, finished, scaled, smallest_side
from fer_keras.recognition.crops import Framing

__all__ = ["Detection", "Haar", "WholePicture", "find_detector"]

CASCADE = "haarcascade_frontalface_alt2.xml"


class Haar:
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

    framing = Framing()
    slope, middle = 1.14, 53.79  # of the score

    def __init__(self, *, min_size=None, scale_factor=1.15, min_neighbors=2):
        self.cascade = load_cascade(CASCADE)
        self.lock = threading.Lock()  # a cascade remembers the picture it is at
        self.min_size, self.scale_factor, self.min_neighbors = min_size, scale_factor, min_neighbors

    def detect(self, rgb):
        """Return the `Detection`s in a picture, the best first."""
        factor = min(1.0, LONGEST_SIDE / max(rgb.shape[:2]))
        side = max(1, round(smallest_side(rgb, self.min_size) * factor))
        grey = np.asarray(scaled(rgb, factor).convert("L"))
        with self.lock:
            boxes, _, weights = self.cascade.detectMultiScale3(
                grey, self.scale_factor, self.min_neighbors, minSize=(side, side), outputRejectLevels=True
            )
        scores = [1 / (1 + math.exp(self.slope * (self.middle - weight))) for weight in np.ravel(weights)]
        return finished(boxes, scores, rgb, factor)


class WholePicture:
    """No detector: the caller says that each picture is a face already."""

    framing = None  # the picture as it is

    def detect(self, rgb):
        """Return one `Detection`, the whole picture."""
        return [Detection((0, 0, rgb.shape[1], rgb.shape[0]), 1.0)]


def find_detector(name="haar", *, min_size=None):
    """Return a detector: an object with `detect(rgb)`, which returns `Detection`s, the best first.

    Its attribute `framing` says how FER-2013's square lies on its boxes (`crops.Framing`); without one, a box is taken
    for that square.

    Args:
        name: "haar"; "mtcnn"; "yunet:PATH", with the path of YuNet's `.onnx` file; an object with `detect`, which comes
            back as it is; or None where every picture is a face already.
        min_size: float in (0, 1], side of the smallest face sought, as a share of the picture's longer side; None is
            0.05, but at least 48 pixels.

    Raises:
        ValueError: if there is no such detector, or the share is out of range.
        ImportError: if the detector's package is not installed.

    Example:

    >>> find_detector(None).detect(np.zeros((48, 40, 3), np.uint8))
    [Detection(box=(0, 0, 40, 48), score=1.0)]
    """
    if min_size is not None and not 0 < min_size <= 1:
        raise ValueError(f"`min_size` must be a share in (0, 1] of a picture's longer side. Received: {min_size!r}.")
    if name is None:
        return WholePicture()
    if callable(getattr(name, "detect", None)):
        return name
    if name == "haar":
        return Haar(min_size=min_size)
    from fer_keras.recognition import neural_detectors

    if name == "mtcnn":
        return neural_detectors.Mtcnn(min_size=min_size)
    if isinstance(name, str) and name.startswith("yunet:"):
        return neural_detectors.Yunet(Path(name.removeprefix("yunet:")), min_size=min_size)
    raise ValueError(
        "`detector` must be 'haar', 'mtcnn', 'yunet:PATH' with the path of its .onnx file, an object with a method "
        f"`detect`, or None where every picture is a face already. Received: {name!r}."
    )


def load_cascade(name):
    """Return one of OpenCV's own cascades; an `ImportError` says what to do where it has none."""
    try:
        import cv2

        cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"The detector 'haar' needs OpenCV 4, whose successor has no cascades ({error}). Install it "
            "(pip install 'opencv-python-headless<5'), or choose another detector: 'mtcnn', 'yunet:PATH', or None "
            "where every picture is a face already."
        ) from error
    if cascade.empty():
        raise ImportError(f"The detector 'haar' needs OpenCV's file {name}. This OpenCV has none: install it again.")
    return cascade
