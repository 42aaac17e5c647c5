"""From a video to a table with a row for each face and frame, and to the same video with boxes and emotions."""

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fer_keras.data.images import MAX_PIXELS
from fer_keras.paths import check_writable
from fer_keras.ray_cluster import silent_stderr
from fer_keras.recognition.annotate import draw_faces
from fer_keras.recognition.folders import NO_FACE, OK, face_row, partial, progress, table_file
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, MIN_CONFIDENCE, Recognizer
from fer_keras.recognition.tracking import Tracker

if TYPE_CHECKING:
    import pandas as pd

EVERY, SMOOTHING_SECONDS = 5, 0.5
# The columns of a video's table and their kinds; the probability of each class, float, comes after them.
COLUMNS = {
    "time": float, "frame": int, "status": str, "id": int, "left": int, "top": int, "width": int, "height": int,
    "emotion": str, "confidence": float, "detected": bool,
}  # fmt: skip
EMPTY = {name: {int: "Int64", bool: "boolean"}[kind] for name, kind in COLUMNS.items() if kind in (int, bool)}
CODES = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}  # what OpenCV's own build can write anywhere
H264 = (".mp4", ".mkv")  # what is written as H.264 where that is at hand
ENCODERS = {"libx264": ["-crf", "20", "-preset", "veryfast"], "libopenh264": ["-b:v", "4M"]}  # of ffmpeg
PARTS = (b"RIFF", b"JUNK", b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"sidx", b"styp", b"uuid")
USUAL_RATE = 25.0  # frames a second, where a camera or a file does not say, or says nonsense
SMALLEST_RATE, LARGEST_RATE = 0.1, 240.0
LONGEST_PAUSE = 600.0  # seconds for which a frame is shown at most, where the times of a video jump


def recognize_video(
    source: str | os.PathLike | int,
    target: str | os.PathLike | None = None,
    *,
    csv: str | os.PathLike | None = None,
    bars: bool = False,
    every: int = EVERY,
    smoothing_seconds: float = SMOOTHING_SECONDS,
    network: Any = DEFAULT_NETWORK,
    classes: Sequence[str] | None = None,
    detector: Any = "auto",
    min_confidence: float = MIN_CONFIDENCE,
    mirrored: bool = False,
    start: float = 0.0,
    stop: float | None = None,
) -> "pd.DataFrame":
    """Follow the faces in a video, recognise their expressions, and return a row for each face and frame.

    The detector looks at every n-th frame; in between faces are followed by optical flow (`tracking.Tracker`). The
    network sees every face in every frame, and its probabilities are smoothed over time. Rows go into the CSV file and
    frames into the video as they come, so memory does not grow with the length; until they are whole, both are called
    `NAME.partial.SUFFIX`. Ctrl-C, or a notebook's stop, ends the work and keeps what was done, as does a file that is
    cut off; both warn. The video that is written is as long as its source, its frames at their times, in H.264 where
    ffmpeg or OpenCV has it (`pip install imageio-ffmpeg` brings it); without, a warning says so.

    Args:
        source: path of a video, or the number of a camera (the first is 0).
        target: path of the video to write, with boxes and words, without sound, `.mp4`, `.mkv`, `.avi`, or `.webm`,
            which is slow but plays in browsers; None writes none.
        csv: path of the table to write, or None. There, a frame without a face has a row, too, of the status "no face".
        bars: draw the probabilities beside each box, too.
        every: int from 1, the detector looks at each so many-th frame; with `detector=None` always at each.
        smoothing_seconds: float, the time constant of the exponential running mean of probabilities; 0 for none.
        network: as for `Recognizer`, as are `classes`, `detector`, `min_confidence` and `mirrored`.
        start: seconds of the video before which frames are left out.
        stop: seconds at which to stop, or None for all.

    Returns:
        A `pandas.DataFrame` with the columns `time` (seconds), `frame` (from 0), `status` ("ok"), `id` (of the face,
        from 1), `left`, `top`, `width`, `height` (pixels), `emotion`, `confidence`, `detected` (False where the face
        was followed), and one for each class. Its `attrs` say `frames` (how many were looked at) and `ended`: "whole",
        "stopped" or "broken".

    Raises:
        ValueError: if the source cannot be read, an option is out of range, or a file would be written over the source
            or cannot be written.
    """
    import pandas as pd

    tracker = Tracker(every=1 if detector is None else every, smoothing_seconds=smoothing_seconds)
    if not start >= 0 or (stop is not None and not stop > start):
        raise ValueError(f"Expected 0 <= `start` < `stop`, in seconds. Received: {start!r} and {stop!r}.")
    check_places(source, target, csv)
    options = {"classes": classes, "detector": detector, "min_confidence": min_confidence, "mirrored": mirrored}
    recognizer = Recognizer(network, **options)
    kinds = COLUMNS | dict.fromkeys(recognizer.classes, float)
    frames, ended = 0, "stopped"
    with contextlib.ExitStack() as stack:
        reader = Reader(source)
        stack.callback(reader.capture.release)
        file = Path(csv or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "faces.csv")
        with Writer(target, reader.rate) as writer, table_file(file, kinds, digits=6) as write_rows:
            bar = stack.enter_context(progress(total=reader.total(start, stop), unit=" frames"))
            with contextlib.suppress(KeyboardInterrupt):
                for number, seconds, rgb, tracks, faces in followed(reader, recognizer, tracker, start, stop):
                    write_rows(rows(number, seconds, tracks, faces))
                    if target is not None:
                        numbers = [str(track.id) for track in tracks]
                        writer.write(draw_faces(rgb, faces, names=numbers, bars=bars), seconds)
                    frames += 1
                    bar.update()
                is_cut = reader.is_over and (reader.is_camera or is_cut_off(reader.source))
                ended = "broken" if is_cut else "whole"
            if not frames and ended != "stopped":
                raise ValueError(f"{reader.name}: Expected a `start` before its end. Received: {start!r} s.")
        found = pd.read_csv(file, dtype=kinds | EMPTY, keep_default_na=False, na_values=[""], encoding="utf-8")
    found = found[found["status"] == OK].astype(kinds).reset_index(drop=True)
    found.attrs.update(frames=frames, ended=ended)
    if ended != "whole":
        words = f"Stopped at {reader.seconds:.1f} s, after {frames:,} frames."
        if ended == "broken":
            words = f"Expected a whole video. Received: no more pictures after {reader.seconds:.1f} s."
        warnings.warn(f"{reader.name}: {words} What was done until then is kept.", stacklevel=2)
    return found


def followed(reader, recognizer, tracker, start, stop):
    """Yield `(number, seconds, rgb, tracks, faces)` of each frame between two times."""
    for number, seconds, rgb in reader:
        if stop is not None and seconds >= stop:
            return
        if seconds >= start:
            tracks = tracker.update(rgb, seconds, recognizer.detect)
            detections = [track.detection(rgb.shape) for track in tracks]
            probabilities = tracker.smooth(tracks, recognizer.probabilities(rgb, detections), seconds)
            yield number, seconds, rgb, tracks, recognizer.faces(detections, probabilities)


def rows(number, seconds, tracks, faces):
    """The rows of one frame: dicts of the columns that have a value."""
    frame = {"time": f"{seconds:.3f}", "frame": number}
    if not faces:
        return [frame | {"status": NO_FACE}]
    return [
        {**frame, "id": track.id, "detected": track.detected, **face_row(face)}
        for track, face in zip(tracks, faces, strict=True)
    ]


def check_places(source, target, csv):
    """Raise a `ValueError` if a file cannot be written, or would be over the source or over another."""
    if target is not None and Path(target).suffix.lower() not in CODES:
        raise ValueError(f"Expected a video's name that ends in one of {', '.join(CODES)}. Received: {target}.")
    given = {"source": source, "target": target, "csv": csv}
    places = {name: Path(place) for name, place in given.items() if isinstance(place, str | os.PathLike)}
    places |= {f"{name}, until it is whole,": partial(places[name]) for name in ("target", "csv") if name in places}
    for (one, place), (other, same) in itertools.combinations(places.items(), 2):
        if place.samefile(same) if place.exists() and same.exists() else place.resolve() == same.resolve():
            raise ValueError(f"The {one} and the {other} must be different files. Received: {same} for both.")
    for name in {"target", "csv"} & set(places):
        check_writable(places[name])


class Reader:
    """The frames of a video file or a camera; the first is read at once, so that there is one.

    Frames are upright, as OpenCV turns them by the file's metadata, and of the first one's size. A `ValueError` says
    why there are none, or that they are absurdly large.
    """

    def __init__(self, source):
        self.is_camera = isinstance(source, int | np.integer) and not isinstance(source, bool)
        self.source = int(source) if self.is_camera else Path(source)
        self.name = f"camera {source}" if self.is_camera else str(source)
        self.capture = self.open()
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if SMALLEST_RATE <= rate <= LARGEST_RATE else USUAL_RATE
        self.read, self.seconds, self.started, self.is_over = 0, 0.0, time.monotonic(), False
        self.ahead = self.next_frame()
        if self.ahead is None:
            self.capture.release()
            raise ValueError(f"{self.name}: Expected a video with at least one frame that can be read. Received: none.")
        self.shape = self.ahead.shape

    def open(self):
        """Open the source. Its path is made absolute, so that nothing takes it for an address."""
        if self.is_camera:
            capture = cv2.VideoCapture(self.source)
            if not capture.isOpened():
                raise ValueError(
                    f"Expected a camera at number {self.source}; the first is 0. Received: none that opens. "
                    "Is it plugged in, allowed, and not in use by another program?"
                )
            return capture
        if not self.source.is_file():
            raise ValueError(f"Expected the path of a video file, or the number of a camera. Received: {self.name}.")
        ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
        capture = cv2.VideoCapture(os.path.abspath(self.source), cv2.CAP_FFMPEG if ffmpeg else cv2.CAP_ANY)
        if not capture.isOpened():
            raise ValueError(
                f"{self.name}: Expected a video that OpenCV can read (MP4, MOV, AVI, MKV, WebM, ...). Received: "
                "something else, sound alone, or a file that is cut off or corrupt at its beginning or end."
            )
        width, height = (int(capture.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            raise ValueError(
                f"{self.name}: Expected at most {MAX_PIXELS:,} pixels a frame. Received: {width}x{height}."
            )
        return capture

    def __iter__(self) -> Iterator[tuple]:
        """Yield `(number, seconds, rgb)` of each frame: its number from 0, when it is shown, uint8 pixels."""
        while self.ahead is not None:
            frame, self.ahead = self.ahead, None
            yield self.read - 1, self.seconds, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            self.ahead = self.next_frame()

    def next_frame(self):
        """The next frame as OpenCV reads it, or None after the last; its time is noted.

        The time is the container's, so that it holds where the frame rate varies; where that does not rise, it is the
        last one and the length of a frame. A camera's is the clock's.
        """
        found, frame = self.capture.read()
        if not found:
            self.is_over = True
            return None
        if self.is_camera:
            self.started = self.started if self.read else time.monotonic()
            self.seconds = time.monotonic() - self.started
        else:
            noted = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            self.seconds = noted if noted > self.seconds or not self.read else self.seconds + 1 / self.rate
        self.read += 1
        if self.read > 1 and frame.shape != self.shape:
            frame = cv2.resize(frame, self.shape[1::-1])
        return frame

    def total(self, start: float, stop: float | None) -> int | None:
        """About how many frames there are between two times, or None if nobody knows."""
        count = self.capture.get(cv2.CAP_PROP_FRAME_COUNT)  # often a guess
        ends = [count / self.rate] if not self.is_camera and 0 < count < 1e9 else []
        ends += [] if stop is None else [stop]
        return max(1, round((min(ends) - start) * self.rate)) if ends else None


def is_cut_off(path: Path) -> bool:
    """True if a file ends before its own container says (AVI, MP4, MOV, MKV, WebM); OpenCV's count is often a guess."""
    size, place = path.stat().st_size, 0
    with path.open("rb") as file:
        head = file.read(4)
        if head == b"\x1a\x45\xdf\xa3":  # Matroska: a head, then one segment that may have no length
            file.seek(skip := 4 + sum(ebml_size(file)))
            is_segment, (length, value) = file.read(4) == b"\x18\x53\x80\x67", ebml_size(file)
            return is_segment and value != (1 << 7 * length) - 1 and skip + 4 + length + value > size
        is_avi = head == b"RIFF"
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[4:8], "little") + 8 if is_avi else int.from_bytes(head[:4], "big")
            if not is_avi and length == 1:
                length = int.from_bytes(head[8:], "big")
            if length < 8 or (head[:4] if is_avi else head[4:8]) not in PARTS:  # open, or another container
                return False
            place += length
    return place > size


def ebml_size(file):
    """Read a size of Matroska: how many bytes it takes, and its value."""
    first = file.read(1)[0]
    length = 9 - first.bit_length()
    return length, int.from_bytes(bytes([first & (0xFF >> length)]) + file.read(length - 1), "big")


class Writer:
    """Writes frames into a video file, without sound, each for as long as it is shown; partial until it is whole."""

    def __init__(self, target, rate: float):
        self.target = None if target is None else Path(target)
        self.rate = round(rate, 3 if rate < 65 else 2)  # MPEG-4 counts time in at most 65,535 parts of a second
        self.writer, self.written, self.first, self.last = None, 0, 0.0, None

    def __enter__(self):
        return self

    def write(self, rgb: np.ndarray, seconds: float) -> None:
        """Show a frame from a time on; the one before is repeated until then."""
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if self.writer is None:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.writer, self.first = open_writer(self.target, self.rate, rgb.shape[1::-1]), seconds
        due = round((seconds - self.first) * self.rate)
        for _ in range(min(due - self.written, round(LONGEST_PAUSE * self.rate))):
            self.writer.write(self.last)
            self.written += 1
        self.last = bgr
        if due >= self.written:
            self.writer.write(bgr)
            self.written += 1

    def __exit__(self, kind, *_):
        """End the file; it gets its name if all went well and it can be opened, which it cannot if the disk is full."""
        if self.writer is None:
            return
        self.writer.release()
        if kind is None:
            beside = partial(self.target)
            capture = cv2.VideoCapture(os.path.abspath(beside), cv2.CAP_FFMPEG)
            opens = capture.isOpened()
            capture.release()
            if not opens:
                raise ValueError(f"{beside}: Expected a whole video. Received: one that is cut off. Is the disk full?")
            os.replace(beside, self.target)


def open_writer(target, rate, size):
    """An object with the methods `write` and `release` of `cv2.VideoWriter`: of H.264 if that is at hand."""
    path, suffix = os.path.abspath(partial(target)), target.suffix.lower()
    if suffix in H264:
        if find_ffmpeg():
            return Ffmpeg(path, rate, size)
        with silent_stderr():  # where it has none, OpenCV writes several lines of errors
            writer = cv2.VideoWriter(path, cv2.CAP_ANY, cv2.VideoWriter_fourcc(*"avc1"), rate, size)
        if writer.isOpened():
            return writer
        warnings.warn(
            f"{target} is written as MPEG-4 part 2, which browsers do not play: neither OpenCV nor ffmpeg has an "
            "encoder of H.264 here. Install ffmpeg, or: pip install imageio-ffmpeg",
            stacklevel=5,
        )
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*CODES[suffix]), rate, size)
    if not writer.isOpened():
        raise ValueError(f"{target}: Expected a place where a video can be written. Received: a refusal.")
    return writer


@functools.cache
def find_ffmpeg():
    """The path of an ffmpeg program and its encoder of H.264, or None."""
    programs = [shutil.which("ffmpeg")]
    with contextlib.suppress(ImportError, RuntimeError):
        import imageio_ffmpeg

        programs.append(imageio_ffmpeg.get_ffmpeg_exe())
    for program in filter(None, programs):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            listed = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=30)
            for encoder in ENCODERS:
                if f" {encoder} " in listed.stdout:
                    return program, encoder
    return None


class Ffmpeg:
    """Writes H.264 through the program ffmpeg, with the methods of `cv2.VideoWriter`."""

    def __init__(self, path, rate, size):
        program, encoder = find_ffmpeg()
        self.path = path
        pixels = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "{}x{}".format(*size), "-r", str(rate), "-i", "-"]
        even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        command = [program, "-loglevel", "error", "-y", *pixels, "-c:v", encoder, *ENCODERS[encoder], *even, path]
        # A group of its own, so that Ctrl-C does not end it before its last frame.
        own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"process_group": 0}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, **own)

    def write(self, bgr):
        """Write one frame."""
        try:
            self.process.stdin.write(memoryview(np.ascontiguousarray(bgr)).cast("B"))
        except OSError:  # it has ended
            self.release()

    def release(self):
        """End the file; a `ValueError` if ffmpeg failed, as when the disk is full."""
        if self.process.returncode is None:
            _, errors = self.process.communicate()
            if self.process.returncode:
                words = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
                raise ValueError(f"{self.path}: Expected ffmpeg to write a video. Received: {words[0]}")
