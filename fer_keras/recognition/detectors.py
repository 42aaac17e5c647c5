"""Where the faces are: OpenCV's Haar cascade, MTCNN, YuNet, one's own, or nothing to be found."""

from typing import NamedTuple

import cv2


class Detection(NamedTuple):
    """A face found: its box `(left, top, width, height)` in pixels, and how sure the detector is, in [0, 1]."""

    box: tuple
    score: float


class Haar:
    """OpenCV's Haar cascade of frontal faces."""

    def __init__(self):
        self.cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def detect(self, rgb):
        """Return the `Detection`s in a picture, the best first."""
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        boxes = self.cascade.detectMultiScale(grey, 1.1, 5)
        return [Detection(tuple(map(int, box)), 1.0) for box in boxes]


class WholePicture:
    """For pictures that are faces already, cut out by the caller."""

    def detect(self, rgb):
        """Return one `Detection`, the whole picture."""
        return [Detection((0, 0, rgb.shape[1], rgb.shape[0]), 1.0)]


def find_detector(name):
    """Return the detector of a name, or the object itself if it has a method `detect`."""
    if name is None:
        return WholePicture()
    if hasattr(name, "detect"):
        return name
    if name == "haar":
        return Haar()
    raise ValueError(f"`detector` must be 'haar', None or an object with a method `detect`. Received: {name!r}.")
