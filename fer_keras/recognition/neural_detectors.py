"""Detectors that are networks: MTCNN, whose package brings its weights, and YuNet from the user's file."""

import threading

import numpy as np

from fer_keras.recognition.boxes import LONGEST_SIDE, finished, scaled, smallest_side
from fer_keras.recognition.crops import Framing

WINDOW = 20  # pixels, side of the smallest face that they find well
LEAST_SCORE = 0.6  # of YuNet; the default of its makers, 0.9, finds large frontal faces only


class Mtcnn:
    """MTCNN of the package `mtcnn`, which needs TensorFlow.

    Reference:
        Zhang, Zhang, Li and Qiao (2016), Joint face detection and alignment using multitask cascaded convolutional
        networks, IEEE Signal Processing Letters 23 (10), arXiv:1604.02878.

    Args:
        min_size: as for `detectors.find_detector`.

    Raises:
        ImportError: if the package is missing.
    """

    framing = Framing(scale=1.04)

    def __init__(self, *, min_size=None):
        try:
            from mtcnn import MTCNN
        except ImportError as error:
            raise ImportError(
                f"The detector 'mtcnn' needs its package: pip install fer_keras[mtcnn]. ({error})"
            ) from error
        self.network, self.min_size = MTCNN(), min_size

    def detect(self, rgb):
        """Return the `Detection`s in a picture, the best first."""
        # Twice its window is the least it takes; asked by its own option for faces larger than that, it finds none.
        factor = fitting(rgb, self.min_size, least=2 * WINDOW)
        if factor is None:
            return []
        found = self.network.detect_faces(np.asarray(scaled(rgb, factor)))
        return finished([face["box"] for face in found], [face["confidence"] for face in found], rgb, factor)


class Yunet:
    """YuNet, run by OpenCV, from a file of OpenCV's model zoo that the user has (`face_detection_yunet_….onnx`).

    Reference:
        Wu, Peng and Yu (2023), YuNet: a tiny millisecond-level face detector, Machine Intelligence Research 20.

    Args:
        file: `pathlib.Path` of the file.
        min_size: as for `detectors.find_detector`.

    Raises:
        ValueError: if there is no such file, or OpenCV cannot read it.
        ImportError: if OpenCV is missing.
    """

    framing = Mtcnn.framing  # both learned from the boxes of WIDER FACE

    def __init__(self, file, *, min_size=None):
        try:
            import cv2
        except ImportError as error:
            raise ImportError(
                f"The detector 'yunet' needs OpenCV: pip install fer_keras[recognition]. ({error})"
            ) from error
        if not file.is_file():
            raise ValueError(
                f"{file}: Expected YuNet's .onnx file, from OpenCV's model zoo. Received: no file there. "
                "Fetch it, or choose the detector 'haar' or 'mtcnn'."
            )
        try:
            self.network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), score_threshold=LEAST_SCORE)
            self.network.detect(np.zeros((320, 320, 3), np.uint8))  # another network fails only here
        except cv2.error as error:
            raise ValueError(f"{file}: Expected YuNet's .onnx file. Received: {str(error)[:200]}") from error
        self.lock = threading.Lock()  # it remembers the size of the picture it is at
        self.min_size = min_size

    def detect(self, rgb):
        """Return the `Detection`s in a picture, the best first."""
        factor = fitting(rgb, self.min_size, least=1)
        if factor is None:
            return []
        bgr = np.ascontiguousarray(np.asarray(scaled(rgb, factor))[..., ::-1])
        with self.lock:
            self.network.setInputSize(bgr.shape[1::-1])
            _, found = self.network.detect(bgr)
        found = np.zeros((0, 15)) if found is None else found
        return finished(found[:, :4], found[:, -1], rgb, factor)


def fitting(rgb, min_size, *, least):
    """Return the factor that makes the smallest face sought as large as the window; None if no factor does.

    Args:
        rgb: the picture.
        min_size: as for `smallest_side`.
        least: pixels that the shorter side must have then.
    """
    shorter, longer = sorted(rgb.shape[:2])
    factor = max(WINDOW / smallest_side(rgb, min_size), least / shorter)
    factor = min(factor, LONGEST_SIDE / longer)
    return factor if factor * shorter >= least else None
