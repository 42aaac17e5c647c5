"""From a video to a table with a row for each face and frame, and to the same video with names in it."""

import contextlib
import tempfile
import warnings
from pathlib import Path

from tqdm import tqdm

from fer_keras.recognition.detectors import Detection
from fer_keras.recognition.recognizer import DEFAULT_NETWORK, MIN_CONFIDENCE, Recognizer
from fer_keras.recognition.tracking import Tracker
from fer_keras.recognition.video_files import Reader, Writer, check_places
from fer_keras.recognition.video_table import Rows, read_rows

EVERY, SMOOTHING_SECONDS = 5, 0.5


def recognize_video(
    source,
    target=None,
    *,
    csv=None,
    every=EVERY,
    smoothing_seconds=SMOOTHING_SECONDS,
    network=DEFAULT_NETWORK,
    classes=None,
    detector="auto",
    min_confidence=MIN_CONFIDENCE,
    mirrored=False,
    start=0.0,
    stop=None,
    show=None,
):
    """Follow the faces in a video, name what they show, and return a table with a row for each face and frame.

    The detector looks at every n-th frame; in between faces are followed by optical flow (`tracking.Tracker`). The
    network sees every face in every frame, and its probabilities are smoothed over time. Rows go into the CSV file and
    frames into the video as they come, so memory does not grow with the length. Ctrl-C, or a notebook's stop, ends the
    work and keeps what was done, as does a file that breaks in the middle; both warn. Without a terminal there is no
    progress bar, and no window is ever opened.

    Args:
        source: path of a video, or the number of a camera (the first is 0).
        target: path of the video to write, with boxes and words, without sound, `.mp4`, `.mkv`, `.avi`, or `.webm`,
            which is slow but plays in browsers; None writes none.
        csv: path of the table to write, or None.
        every: int from 1, the detector looks at each so many-th frame; with `detector=None` always at each.
        smoothing_seconds: float, the time constant of the exponential running mean of probabilities; 0 for none.
        network: as for `Recognizer`.
        classes: as for `Recognizer`.
        detector: as for `Recognizer`.
        min_confidence: as for `Recognizer`.
        mirrored: as for `Recognizer`.
        start: seconds of the video before which frames are left out.
        stop: seconds at which to stop, or None for all.
        show: function of each frame with boxes and words, uint8 RGB `(height, width, 3)`; if it returns False, that is
            the last.

    Returns:
        A `pandas.DataFrame` with the columns `time` (seconds), `frame` (from 0), `id` (of the face, from 1), `left`,
        `top`, `width`, `height` (pixels), `emotion`, `confidence`, `detected` (False where the face was followed), and
        one for each class. Its `attrs` say `frames` (how many were looked at) and `ended`: "whole", "stopped" or
        "broken".

    Raises:
        ValueError: if the source cannot be read, an option is out of range, or a file would be written over the source.
    """
    options = {"classes": classes, "detector": detector, "min_confidence": min_confidence, "mirrored": mirrored}
    recognizer = Recognizer(network, **options)
    tracker = Tracker(every=1 if detector is None else every, smoothing_seconds=smoothing_seconds)
    if not start >= 0 or (stop is not None and not stop > start):
        raise ValueError(f"Expected 0 <= `start` < `stop`, in seconds. Received: {start!r} and {stop!r}.")
    check_places(source, target, csv)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(Reader(source))
        file = Path(csv or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "faces.csv")
        with Writer(target, reader.rate) as writer, Rows(file, recognizer.classes) as rows:
            work = Work(reader, recognizer, tracker, writer, rows, show)
            ended = work.run(start, stop)
        if not work.frames and ended != "stopped":
            raise ValueError(f"{reader.name}: Expected a `start` before its end. Received: {start!r} s.")
        table = read_rows(file, recognizer.classes)
    table.attrs.update(frames=work.frames, ended=ended)
    if ended != "whole":
        warnings.warn(f"{reader.name}: {work.words(ended)} What was done until then is kept.", stacklevel=2)
    return table


class Work:
    """What happens to each frame between reader and writer."""

    def __init__(self, reader, recognizer, tracker, writer, rows, show):
        self.reader, self.recognizer, self.tracker = reader, recognizer, tracker
        self.writer, self.rows, self.show = writer, rows, show
        self.frames = 0

    def run(self, start, stop):
        """Do all frames from `start` to `stop`; return how it ended: "whole", "stopped" or "broken"."""
        bar = tqdm(total=self.total(start, stop), unit=" frames", disable=None)
        with bar, contextlib.suppress(KeyboardInterrupt):
            for number, seconds, rgb in self.reader:
                if seconds < start:
                    continue
                if stop is not None and seconds >= stop:
                    return "whole"
                going_on = self.frame(number, seconds, rgb)
                self.frames += 1
                bar.update()
                if going_on is False:
                    return "whole"
            return "broken" if self.reader.is_cut_short else "whole"
        return "stopped"

    def total(self, start, stop):
        """Return how many frames there should be, or None if nobody knows."""
        ends = [] if self.reader.count is None else [self.reader.count / self.reader.rate]
        ends += [] if stop is None else [stop]
        return max(1, round((min(ends) - start) * self.reader.rate)) if ends else None

    def frame(self, number, seconds, rgb):
        """Do one frame; return False if who watches has seen enough."""
        tracks = self.tracker.update(rgb, seconds, self.recognizer.detect)
        detections = [Detection(track.box(rgb.shape), track.score) for track in tracks]
        probabilities = self.recognizer.probabilities(rgb, detections)
        faces = self.recognizer.faces(detections, self.tracker.smooth(tracks, probabilities, seconds))
        self.rows.write(number, seconds, tracks, faces)
        if self.writer.target is None and self.show is None:
            return None
        from fer_keras.recognition.drawing import draw_faces

        drawn = draw_faces(rgb, faces, names=[str(track.id) for track in tracks])
        if self.writer.target is not None:
            self.writer.write(drawn, self.writer.due(seconds) if self.reader.is_camera else 1)
        return None if self.show is None else self.show(drawn)

    def words(self, ended):
        """Return in a sentence why the work ended before the video did."""
        if ended == "stopped":
            return f"Stopped at {self.reader.seconds:.1f} s, after {self.frames:,} frames."
        if self.reader.is_camera:
            return f"No more pictures came after {self.reader.seconds:.1f} s."
        return (
            f"Expected {self.reader.count:,} frames. Received: {self.reader.read:,}, up to "
            f"{self.reader.seconds:.1f} s; the rest is missing or damaged."
        )
