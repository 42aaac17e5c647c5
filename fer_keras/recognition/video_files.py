"""Frames in from a video file or a camera, with their times, and frames out into a video file."""

import itertools
import os
import time
from pathlib import Path

import cv2
import numpy as np

from fer_keras.data.images import MAX_PIXELS

# What OpenCV's own build can write anywhere; only WebM's plays in browsers.
CODES = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
USUAL_RATE = 25.0  # frames a second, where a camera or a file does not say, or says nonsense
SMALLEST_RATE, LARGEST_RATE = 0.1, 240.0
MISSING_SHARE, MISSING_FRAMES = 0.01, 2  # by which a container's own count of its frames may be off
LONGEST_PAUSE = 1.0  # seconds for which a camera's last picture is repeated at most


class Reader:
    """The frames of a video file or a camera; the first is read at once, so that there is one.

    Frames are upright, as OpenCV turns them by the file's metadata, and of the first one's size.

    Args:
        source: path of a file, or the number of a camera.

    Raises:
        ValueError: if there is nothing at the path, it holds no video or no frame, its frames are absurdly large, or
            there is no such camera.
    """

    def __init__(self, source):
        self.is_camera = isinstance(source, int | np.integer) and not isinstance(source, bool)
        self.source = int(source) if self.is_camera else Path(source)
        self.name = f"camera {source}" if self.is_camera else str(source)
        self.capture = open_camera(self.source) if self.is_camera else open_file(self.source)
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if SMALLEST_RATE <= rate <= LARGEST_RATE else USUAL_RATE
        count = self.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if not self.is_camera and 0 < count < 1e9 else None
        self.read, self.seconds, self.started = 0, 0.0, time.monotonic()
        self.ahead = self.next_frame()
        if self.ahead is None:
            self.close()
            raise ValueError(f"{self.name}: Expected a video with at least one frame that can be read. Received: none.")
        self.shape = self.ahead.shape

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        """Yield `(number, seconds, rgb)` of each frame: its number from 0, when it is shown, uint8 pixels."""
        while self.ahead is not None:
            frame, self.ahead = self.ahead, None
            yield self.read - 1, self.seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            self.ahead = self.next_frame()

    def next_frame(self):
        """Return the next frame as OpenCV reads it, or None after the last, and note its time.

        The time is the container's, so that it holds where the frame rate varies; where that does not rise, it is the
        last one and the length of a frame. A camera's is the clock's.
        """
        found, frame = self.capture.read()
        if not found:
            return None
        if self.is_camera:
            self.seconds = time.monotonic() - self.started if self.read else 0.0
            self.started = self.started if self.read else time.monotonic()
        else:
            said = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            self.seconds = said if said > self.seconds or not self.read else self.seconds + 1 / self.rate
        self.read += 1
        if self.read > 1 and frame.shape != self.shape:
            frame = cv2.resize(frame, self.shape[1::-1])
        return frame

    @property
    def is_cut_short(self):
        """Whether a camera fell silent, or fewer frames could be read than the file says that it has."""
        if self.is_camera or self.count is None:
            return self.is_camera
        return self.read < (1 - MISSING_SHARE) * self.count - MISSING_FRAMES

    def close(self):
        """Let go of the file or the camera."""
        self.capture.release()


def open_file(path):
    """Return an open capture of a video file. The path is made absolute, so that nothing takes it for an address."""
    if not path.is_file():
        raise ValueError(f"Expected the path of a video file, or the number of a camera. Received: {path}, not a file.")
    files = cv2.videoio_registry.getStreamBackends()
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in files else cv2.CAP_ANY)
    if not capture.isOpened():
        raise ValueError(
            f"{path}: Expected a video that OpenCV can read (MP4, MOV, AVI, MKV, WebM, ...). Received: something else, "
            "sound alone, or a file that is cut short or damaged at its beginning or end. Copy it again."
        )
    width, height = (int(capture.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise ValueError(f"{path}: Expected frames of at most {MAX_PIXELS:,} pixels. Received: {width}x{height}.")
    return capture


def open_camera(number):
    """Return an open capture of a camera."""
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise ValueError(
            f"Expected a camera at number {number}; the first is 0. Received: none that opens. "
            "Is it plugged in, allowed, and not in use by another program?"
        )
    return capture


class Writer:
    """Writes frames into a video file, without sound.

    Until it is closed in good order, the file is called `NAME.partial.SUFFIX`. That is what a crash leaves.

    Args:
        target: path, or None to write nothing; its suffix decides the format.
        rate: float, frames a second.

    Raises:
        ValueError: on a suffix that cannot be written.
    """

    def __init__(self, target, rate):
        self.target = None if target is None else Path(target)
        self.rate = round(rate, 3 if rate < 65 else 2)  # MPEG-4 counts time in at most 65,535 parts of a second
        self.writer, self.written = None, 0
        if self.target is not None and self.target.suffix.lower() not in CODES:
            raise ValueError(f"Expected a video's name that ends in one of {', '.join(CODES)}. Received: {target}.")

    @property
    def partial(self):
        """What the file is called until it is whole."""
        return self.target.with_name(f"{self.target.stem}.partial{self.target.suffix}")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(whole=kind is None)

    def write(self, rgb, copies=1):
        """Write one frame, or copies of it."""
        if self.writer is None:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter_fourcc(*CODES[self.target.suffix.lower()])
            path = os.path.abspath(self.partial)
            self.writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, code, self.rate, rgb.shape[1::-1])
            if not self.writer.isOpened():
                raise ValueError(f"{self.target}: Expected a place where a video can be written. Received: a refusal.")
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        for _ in range(copies):
            self.writer.write(bgr)
        self.written += copies

    def due(self, seconds):
        """Return how many frames are to be written now, so that a camera's video keeps the time of its clock."""
        return min(max(int(seconds * self.rate) + 1 - self.written, 0), max(1, int(LONGEST_PAUSE * self.rate)))

    def close(self, *, whole):
        """End the file; it gets its name if it is whole.

        Raises:
            ValueError: if what was written cannot be opened, as when the disk is full.
        """
        if self.writer is None:
            return
        self.writer.release()
        self.writer = None
        if not whole:
            return
        capture = cv2.VideoCapture(os.path.abspath(self.partial), cv2.CAP_FFMPEG)
        opens = capture.isOpened()
        capture.release()
        if not opens:
            raise ValueError(f"{self.partial}: Expected a whole video. Received: one cut short. Is the disk full?")
        os.replace(self.partial, self.target)


def check_places(source, target, csv):
    """Raise a `ValueError` if a file would be written over the source, or the table over the video."""
    written = {"target": target, "csv": csv, "source": source}
    written = {name: Path(place) for name, place in written.items() if isinstance(place, str | os.PathLike)}
    if target is not None:
        written["target"], written["target, until it is whole,"] = Path(target), Writer(target, USUAL_RATE).partial
    for (one, place), (other, same) in itertools.combinations(written.items(), 2):
        if is_same(place, same):
            raise ValueError(f"The {one} and the {other} must be different files. Received: {same} for both.")


def is_same(one, other):
    """Tell whether two paths lead to the same file, links and all."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()
