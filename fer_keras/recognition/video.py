"""From a video to a table with a row for each face and frame, and to the same video with boxes and emotions."""

import contextlib
import functools
import itertools
import math
import os
import re
import shutil
import subprocess
import tempfile
import time
import warnings
from numbers import Real
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fer_keras.data.images import MAX_PIXELS
from fer_keras.paths import TABLES, as_path, check_writable, opencv_path, partial, unfinished
from fer_keras.ray_cluster import silent_stderr
from fer_keras.recognition.annotate import draw_faces
from fer_keras.recognition.folders import NO_FACE, OK, all_columns, face_row, is_photo, progress, table_file
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, Recognizer
from fer_keras.recognition.tracking import Tracker

if TYPE_CHECKING:
    import pandas as pd

EVERY = 5
# The columns of a video's table and their kinds; the probability of each class, float, comes after them.
COLUMNS = {
    "time": float, "frame": int, "status": str, "id": int, "left": int, "top": int, "width": int, "height": int,
    "emotion": str, "confidence": float, "detected": bool,
}  # fmt: skip
CODES = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}  # what OpenCV's own build can write anywhere
ENCODERS = {"libx264": ["-crf", "20", "-preset", "veryfast"], "libopenh264": ["-b:v", "4M"]}  # of ffmpeg

# How videos begin: MP4 and MOV, Matroska, AVI, GIF, PNG, JPEG, Ogg, FLV, WMV, MXF, DV, MPEG (streams; packets of 188,
# 192, 204 bytes), IVF, Y4M, NUT, RM. What begins otherwise may be a playlist or a script, for which FFmpeg opens more.
is_container = re.compile(
    rb"(?s)....(ftyp|moov|moof|mdat|free|skip|wide|pnot|styp|sidx|uuid)|\x1aE\xdf\xa3|RIFF....(AVI |WEBP)|GIF8|\x89PNG|"
    rb"\xff\xd8\xff|OggS\0|FLV\x01|0&\xb2u|\x06\x0e\x2b\x34|\x1f\x07\0|\0\0\0?\x01|(G.{187}){3}|(.{4}G.{187}){3}|"
    rb"(G.{203}){3}|DKIF\0\0|YUV4MPEG2 |nut/multimedia|\.RMF"
).match


def recognize_video(
    source: str | os.PathLike | int, target: str | os.PathLike | None = None, *, csv: str | os.PathLike | None = None,
    bars: bool = False, every: int = EVERY, smoothing_seconds: float = 0.5, network: Any = DEFAULT_NETWORK,
    detector: Any = "auto", start: float = 0.0, stop: float | None = None, **options: Any,
) -> "pd.DataFrame":  # fmt: skip
    """Follow the faces in a video, recognise their expressions, and return a row for each face and frame.

    The detector looks at every n-th frame; in between faces are followed by optical flow. The network sees every face
    in every frame. Rows and frames are written as they come, into files called `NAME.partial.SUFFIX` until all is done,
    and for good where Ctrl-C ends the work. Where the source breaks off, what was done is kept, with a warning. Videos
    are as long as their source, frames at their times, in H.264 if ffmpeg (`pip install imageio-ffmpeg`) or OpenCV can.

    Args:
        source: path of a video, or the number of a camera (the first is 0).
        target: path of the video to write, without sound: `.mp4`, `.mkv`, `.avi`, or `.webm` (slow, for browsers).
        csv: path of the table to write, or None. There, a frame without a face has a row, too, of the status "no face".
        bars: draw the probabilities beside each box, too.
        every: int from 1, the detector looks at each so many-th frame; with `detector=None` always at each.
        smoothing_seconds: float, the time constant of the exponential running mean of probabilities; 0 for none.
        network: as for `Recognizer`, as are `detector`, `classes`, `min_confidence`, `mirrored` and `min_size`.
        start: seconds of the video at which to begin; `stop`: those at which to end, or None.

    Returns:
        A `pandas.DataFrame` with the columns `time` (seconds), `frame` (from 0), `status` ("ok"), `id` (of the face,
        from 1), `left`, `top`, `width`, `height` (pixels), `emotion`, `confidence`, `detected` (False where the face
        was followed), and one for each class. `attrs`: `frames`, `seconds` read, `ended`: "whole", "stopped", "broken".

    Raises:
        ValueError: if the source cannot be read, an option is out of range, or a file cannot or must not be written.
    """
    import pandas as pd

    tracker = Tracker(every=1 if detector is None else every, smoothing_seconds=smoothing_seconds)
    end = np.inf if stop is None else stop
    if not (isinstance(start, Real) and isinstance(end, Real) and 0 <= start < end):
        raise ValueError(f"Expected 0 <= `start` < `stop`, in seconds. Received: {start!r} and {stop!r}.")
    check_places(source, target, csv)
    recognizer = Recognizer(network, detector=detector, **options)
    kinds, frames, ended = all_columns(COLUMNS, recognizer.classes), 0, "stopped"
    with contextlib.ExitStack() as stack:
        reader = Reader(source)
        stack.callback(reader.capture.release)
        file = Path(csv or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "faces.csv")
        ends = [each for each in (reader.count, end * reader.rate) if 0 < each < 1e9]  # none if nobody knows
        total = max(1, round(min(ends) - start * reader.rate)) if ends else None
        bar = stack.enter_context(progress(total=total, unit=" frames"))
        pictures = itertools.dropwhile(lambda _: reader.seconds < start, enumerate(reader))
        first = next(pictures, None)
        if first is None or reader.seconds >= end:
            raise ValueError(f"{reader.name}: Expected frames from `start` to `stop`. Received: {start}, {end}: none.")
        with contextlib.suppress(KeyboardInterrupt):
            with video_file(target, reader.rate) as write, table_file(file, kinds, digits=6) as write_rows:
                for number, frame in itertools.chain([first], pictures):
                    if reader.seconds >= end:
                        reached = "whole"
                        break
                    rgb, at = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), {"time": f"{reader.seconds:.3f}", "frame": number}
                    tracks, faces = follow(recognizer, tracker, rgb, reader.seconds)
                    pairs = zip(tracks, faces, strict=True)
                    rows = [at | {"id": one.id, "detected": one.detected} | face_row(face) for one, face in pairs]
                    write_rows(rows or [at | {"status": NO_FACE}])
                    if target is not None:
                        names = [str(track.id) for track in tracks]
                        write(draw_faces(rgb, faces, names=names, bars=bars), reader.seconds)
                    frames += 1
                    bar.update()
                else:
                    parts = [part / max(reader.count, 1) for part in (number + 1, reader.seconds * reader.rate)]
                    reached = "broken" if reader.is_camera or is_cut_off(reader.source, *parts) else "whole"
                    if target is not None:
                        write(None, reader.end)  # until when the last frame is shown
            ended = reached  # also of the files, which are called by their names now
        if not frames:
            raise KeyboardInterrupt
        empty = {name: {int: "Int64", bool: "boolean"}.get(kind, kind) for name, kind in kinds.items()}
        file = partial(file) if partial(file).exists() else file
        found = pd.read_csv(file, dtype=empty, keep_default_na=False, na_values=[""], encoding="utf-8")
    found = found[found["status"] == OK].astype(kinds).reset_index(drop=True)
    found.attrs.update(frames=frames, ended=ended, seconds=reader.seconds)
    if ended != "whole":
        what = "Stopped" if ended == "stopped" else "Expected a whole video. Received: no more pictures"
        where = " in NAME.partial.SUFFIX" if ended == "stopped" and (target or csv) else ""
        kept = f"after {reader.seconds:.1f} s. What was done until then is kept{where}: {frames:,} frames."
        warnings.warn(f"{reader.name}: {what} {kept}", stacklevel=2)
    return found


def follow(recognizer, tracker, rgb, seconds):
    """Follow the faces into the next frame; its `tracking.Track`s and their `Face`s, of smoothed probabilities."""
    tracks = tracker.update(rgb, seconds, recognizer.detect)
    detections = [track.detection(rgb.shape) for track in tracks]
    found = recognizer.calibrated(recognizer.crops(rgb, detections))
    return tracks, recognizer.faces(detections, tracker.smooth(tracks, found, seconds))


def check_places(source, target, csv):
    """Raise a `ValueError` if a file cannot be written, or would be over the source or over another."""
    for place, suffixes in ((target, CODES), (csv, TABLES)):
        if place is not None:
            check_writable(place, suffixes)
    written = [Path(each) for each in (target, csv) if each is not None]
    read = [Path(source)] if isinstance(source, str | os.PathLike) else []
    for place, same in itertools.combinations([*read, *written, *map(partial, written)], 2):
        if place.samefile(same) if place.exists() and same.exists() else place.resolve() == same.resolve():
            raise ValueError(f"Source, target, csv and NAME.partial.SUFFIX must be different files. Received: {same}.")
    opencv_path(target or "")


class Reader:
    """The frames of a video file or a camera, upright and of one size; `seconds` is when the one read last is shown."""

    def __init__(self, source):
        self.is_camera = isinstance(source, int | np.integer) and not isinstance(source, bool)
        expected = "the path of a video file, or, in Python alone, the number of a camera, an int from 0"
        self.source = int(source) if self.is_camera else as_path(source, expected)
        self.name = f"camera {source}" if self.is_camera else str(source)
        if not (0 <= self.source < 2**31 if self.is_camera else self.source.is_file()):
            raise ValueError(f"Expected {expected}. Received: {self.name}.")
        place = self.source if self.is_camera else self.checked()
        ffmpeg = not self.is_camera and cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
        self.capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG if ffmpeg else cv2.CAP_ANY)
        wide, high = (int(self.capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if wide * high > MAX_PIXELS:
            raise ValueError(f"{self.name}: Expected at most {MAX_PIXELS:,} pixels a frame. Received: {wide}x{high}.")
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.count = self.capture.get(cv2.CAP_PROP_FRAME_COUNT)  # often a guess
        self.rate, self.end = rate if 0.1 <= rate <= 240 else 25.0, 0.0  # where it does not say, or says nonsense
        content = self.source.read_bytes() if not self.is_camera and self.source.suffix.lower() == ".gif" else b""
        if delays := re.findall(rb"!\xf9\x04.(..).\0", content, re.DOTALL):  # the mean rate would leave frames out
            delays = [10 if each in (b"\0\0", b"\1\0") else int.from_bytes(each, "little") for each in delays]
            self.rate, self.end = 100 / math.gcd(100, *delays), sum(delays) / 100  # as FFmpeg takes them
        _, self.first = self.capture.read()  # at once, so that there is one
        if self.first is None:
            self.capture.release()
            why = "It may be something else, sound alone, cut off or corrupt; a camera, missing, forbidden or in use."
            raise ValueError(f"{self.name}: Expected frames that OpenCV can read. Received: none. {why}")
        # Now, for a camera; or when the container says that the frame which was read last is shown.
        self.clock = time.monotonic if self.is_camera else lambda: self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        self.started = time.monotonic() if self.is_camera else 0.0
        self.seconds = self.clock() - self.started

    def checked(self):
        """The path for OpenCV, which nothing takes for an address, of a file that makes FFmpeg open no others."""
        with self.source.open("rb") as file:
            head, place = file.read(2**20), opencv_path(self.source)
        # FFmpeg looks for a playlist of DASH behind any beginning, and takes a name such as %d.gif for those of many.
        is_list = not is_container(head) or b"<MPD" in head.partition(b"\0")[0].upper()
        if is_list or (is_photo(f"a{self.source.suffix}") and re.search(r"%\d*[d*?{[]", place)):
            what = "other content, as of a playlist" if is_list else "a name that stands for many"
            raise ValueError(f"{self.name}: Expected a video, as MP4, MKV, AVI, GIF or MPEG. Received: {what}.")
        return place

    def __iter__(self):
        frame = self.first
        while frame is not None:
            yield frame if frame.shape == self.first.shape else cv2.resize(frame, self.first.shape[1::-1])
            _, frame = self.capture.read()
            if frame is not None:  # rates may vary; some containers' times do not rise
                now = self.clock() - self.started
                self.seconds = now if now > self.seconds else self.seconds + 1 / self.rate


def is_cut_off(path: Path, counted: float = 1.0, timed: float = 1.0) -> bool:
    """True if a file ends before its own container says (AVI, MP4, MOV, MKV, WebM, GIF), or most of it cannot be read.

    `counted` is the share of OpenCV's count of frames that was read, `timed` the same by time. The count is a guess but
    for MP4 and for AVI, which has no frame where one was dropped.
    """
    size, place, shown = path.stat().st_size, 0, 0.0
    with path.open("rb") as file:
        head = file.read(4)
        if head == b"\x1a\x45\xdf\xa3":  # Matroska: a head, then one segment that may have no length
            file.seek(skip := 4 + sum(ebml_size(file)))
            is_segment, (length, value) = file.read(4) == b"\x18\x53\x80\x67", ebml_size(file)
            return is_segment and value != (1 << 7 * length) - 1 and skip + 4 + length + value > size
        if head == b"GIF8":
            file.seek(max(0, size - 64))
            return not file.read().rstrip(b"\0\r\n ").endswith(b";")
        is_avi, parts = head == b"RIFF", b"RIFF JUNK ftyp moov mdat moof free skip wide sidx styp uuid".split()
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[4:8], "little") + 8 if is_avi else int.from_bytes(head[:4], "big")
            if not is_avi and length == 1:
                length = int.from_bytes(head[8:], "big")
            if length < 8 or (head[:4] if is_avi else head[4:8]) not in parts:  # open, or another container
                break
            if is_avi:
                shown, counted = 1.0, max(counted, timed)
            elif head[4:8] == b"moov":
                file.seek(place)
                shown = shown_share(file.read(min(length, 2**26)))
            place += length
    return place > size or counted < 0.9 * shown


def shown_share(moov):
    """Share of an MP4's frames that its edit list shows, the least of its video tracks; 0.0 if it does not say."""
    track = rb"tkhd\0.{19}(.{4})(?:(?!tkhd).)*?mdhd\0.{11}(.{4})(.{4}).{8}hdlr.{8}vide"
    found = re.findall(rb"mvhd\0.{11}(.{4})()()", moov, re.DOTALL) + re.findall(track, moov, re.DOTALL)
    (scale, *_), *tracks = [[int.from_bytes(each, "big") for each in row] for row in found] or [[0]]
    shares = [shown * rate / (scale * length) for shown, rate, length in tracks if scale * length]
    return min(1.0, *shares) if shares else 0.0


def ebml_size(file):
    """Read a size of Matroska: how many bytes it takes, and its value."""
    first = file.read(1)
    length = 9 - first[0].bit_length()
    return length, int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)


@contextlib.contextmanager
def video_file(target, rate):
    """Yield a function that writes frames, each for as long as it is shown, into a file, partial until it is whole."""
    rate = round(rate, 3 if rate < 65 else 2)  # MPEG-4 counts time in at most 65,535 parts of a second
    path, writer, written, first, last = target and Path(target), None, 0, 0.0, None

    def write(rgb, seconds):
        nonlocal writer, written, first, last
        if writer is None:
            writer, first = open_writer(path, rate, rgb.shape[1::-1]), seconds
        bgr, due = last if rgb is None else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), round((seconds - first) * rate)
        # The frame before is repeated until then, for ten minutes at most.
        shown = [last] * min(due - written, round(600 * rate)) + [bgr] * (rgb is not None and due >= written)
        for frame in shown:
            writer.write(frame)
        written, last = written + len(shown), bgr

    with unfinished(path) if path else contextlib.nullcontext() as beside:
        try:
            yield write
        finally:
            if writer:
                writer.release()
        if writer:
            capture = cv2.VideoCapture(os.path.abspath(beside), cv2.CAP_FFMPEG)
            if is_cut_off(beside) or capture.get(cv2.CAP_PROP_FRAME_COUNT) < 0.99 * written:
                raise ValueError(f"{beside}: Expected a whole video. Received: one that is cut off. Is the disk full?")


def open_writer(target, rate, size):
    """An object with the methods `write` and `release` of `cv2.VideoWriter`: of H.264 if that is at hand."""
    path, code = os.path.abspath(partial(target)), CODES[target.suffix.lower()]
    if code == "mp4v" and find_ffmpeg():
        return ffmpeg_writer(path, rate, size)
    for api, letters in [(cv2.CAP_ANY, "avc1")] * (code == "mp4v") + [(cv2.CAP_FFMPEG, code)]:
        with silent_stderr():  # where it has no encoder, OpenCV writes several lines of errors
            writer = cv2.VideoWriter(path, api, cv2.VideoWriter_fourcc(*letters), rate, size)
        if writer.isOpened():
            if letters == "mp4v":
                why = "browsers do not play: neither OpenCV nor ffmpeg has an encoder of H.264 here. Install ffmpeg,"
                words = f"{target} is written as MPEG-4 part 2, which {why} or: pip install imageio-ffmpeg"
                warnings.warn(words, stacklevel=4)
            return writer
    raise ValueError(f"{target}: Expected a place where a video can be written. Received: a refusal.")


@functools.cache
def find_ffmpeg() -> tuple[str, str] | None:
    """The path of an ffmpeg program and its encoder of H.264, or None."""
    programs = [shutil.which("ffmpeg")]
    with contextlib.suppress(ImportError, RuntimeError):
        import imageio_ffmpeg

        programs.append(imageio_ffmpeg.get_ffmpeg_exe())
    for program in filter(None, programs):
        with contextlib.suppress(OSError, subprocess.SubprocessError, StopIteration):
            listed = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=30)
            return program, next(encoder for encoder in ENCODERS if f" {encoder} " in listed.stdout)
    return None


def ffmpeg_writer(path, rate, size):
    """An object like `cv2.VideoWriter` that writes H.264 through the program ffmpeg."""
    program, encoder = find_ffmpeg()
    pixels = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "{}x{}".format(*size), "-r", str(rate), "-i", "-"]
    even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command = [program, "-loglevel", "error", "-y", *pixels, "-c:v", encoder, *ENCODERS[encoder], *even, path]
    # A group of its own, so that Ctrl-C does not end it before its last frame.
    own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"process_group": 0}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, **own)

    def release():
        if process.returncode is None:
            _, errors = process.communicate()
            if process.returncode:  # as when the disk is full
                words = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
                raise ValueError(f"{path}: Expected ffmpeg to write a video. Received: {words[0]}")

    def write(bgr):
        try:
            process.stdin.write(bgr)
        except OSError:  # it has ended
            release()

    return SimpleNamespace(write=write, release=release)
