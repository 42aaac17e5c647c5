"""Follows faces from frame to frame, so that one face keeps one number and the detector may rest in between."""

import dataclasses
import itertools

import numpy as np

from fer_keras.recognition import flow
from fer_keras.recognition.detectors import overlap

SMALLEST_OVERLAP = 0.25  # intersection over union from which a detection is the face that was followed to there
COAST_SECONDS = 1.0  # how long a face that the detector misses lives on
VELOCITY_SECONDS = 0.2  # time constant of a face's velocity
SMALLEST_SHARE = 0.5  # of a box, inside the picture; below it the face has left


@dataclasses.dataclass(eq=False)
class Track:
    """One face, followed.

    Args:
        id: int from 1, never given twice.
        place: float array `(left, top, width, height)` in pixels, may reach beyond the picture.
        score: the detector's score when it last found the face.
        found_at: seconds of the video at which the detector last found it.
        times_found: int, how often the detector found it.
        detected: whether the detector found it in this frame.
        visible: whether it is seen in this frame: found, or followed without being lost.
        points: float32 array `(n, 2)` of what is followed, in pixels of the small grey frame.
        seeds: int, how many points there were when the detector last found the face.
        velocity: float array, pixels a second to the right and down.
        probabilities: float array `(classes,)`, smoothed, or None before there are any.
        named_at: seconds at which `probabilities` were right.
    """

    id: int
    place: np.ndarray
    score: float
    found_at: float
    times_found: int = 1
    detected: bool = True
    visible: bool = True
    points: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.float32))
    seeds: int = 0
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))
    probabilities: np.ndarray | None = None
    named_at: float = 0.0

    @property
    def centre(self):
        """`(x, y)` of the middle of the face."""
        return self.place[:2] + self.place[2:] / 2

    def box(self, shape):
        """Return `(left, top, width, height)` as ints, cut at the edges of a picture of this shape."""
        left, top, right, bottom = inside(self.place, shape).round().astype(int).tolist()
        return left, top, right - left, bottom - top


class Tracker:
    """Gives each face of a video a number that it keeps.

    The detector looks at every n-th frame. Its faces go to the tracks by intersection over union, the largest first
    (greedy: with the few faces of a video the same as the Hungarian method's in all but contrived cases, and no need
    of SciPy); tracks that are seen choose before those that are lost. In all frames tracks are followed by optical flow
    (`flow.follow`).

    A track is born at once, so that a face is in the table from its first frame. A false alarm is mostly alone: a track
    that the detector does not find a second time dies at that look. Any other lives on for `COAST_SECONDS` without
    being found, and dies at the first look after that; meanwhile it is followed, or, when the flow loses it or another
    face stands in front of it, moves on unseen at its last velocity and waits to be found. A face of which less than
    half is in the picture has left it.

    Reference:
        Bewley, Ge, Ott, Ramos and Upcroft (2016), Simple online and realtime tracking, arXiv:1602.00763, whose scheme
        it is, with optical flow in the place of the Kalman filter.

    Args:
        every: int from 1: the detector looks at frames 0, `every`, 2 `every`, ...
        smoothing_seconds: float from 0: the time constant of `smooth`; 0 leaves probabilities as they are.

    Raises:
        ValueError: on values that are out of range.
    """

    def __init__(self, *, every=5, smoothing_seconds=0.5):
        if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
            raise ValueError(f"`every` must be a whole number of frames, at least 1. Received: {every!r}.")
        if not 0 <= smoothing_seconds < np.inf:
            raise ValueError(f"`smoothing_seconds` must be at least 0. Received: {smoothing_seconds!r}.")
        self.every, self.smoothing_seconds = every, smoothing_seconds
        self.tracks = []
        self.numbers = itertools.count(1)
        self.frame, self.grey, self.scale, self.seconds = 0, None, 1.0, 0.0

    def update(self, rgb, seconds, detect):
        """Return the `Track`s that are seen in the next frame, by their number.

        Args:
            rgb: uint8 array `(height, width, 3)`.
            seconds: float, when the frame is shown.
            detect: function from `rgb` to `Detection`s, called on every n-th frame.
        """
        grey, scale = flow.small_grey(rgb)
        for track in self.tracks:
            track.detected = False
        self.follow(grey, scale, seconds)
        if self.frame % self.every == 0:
            self.look(detect(rgb), seconds)
        self.tracks = [track for track in self.tracks if share_inside(track.place, rgb.shape) >= SMALLEST_SHARE]
        self.frame += 1
        return [track for track in self.tracks if track.visible]

    def follow(self, grey, scale, seconds):
        """Move every track from the last frame to this one."""
        before, elapsed = self.grey, seconds - self.seconds
        self.grey, self.scale, self.seconds = grey, scale, seconds
        seen = [track for track in self.tracks if track.visible]
        if before is None or before.shape != grey.shape:
            moves = [None] * len(seen)
        else:
            moves = flow.follow(before, grey, [track.points for track in seen], [track.seeds for track in seen])
        for track in self.tracks:
            if not track.visible:
                track.place[:2] += track.velocity * max(elapsed, 0)
        for track, move in zip(seen, moves, strict=True):
            if move is None:
                track.visible = False
            else:
                self.move(track, move, elapsed)

    def move(self, track, move, elapsed):
        """Move one track as its points moved."""
        centre = track.centre
        track.points = move.points
        middle, size = move.apply(centre * self.scale) / self.scale, track.place[2:] * move.growth
        track.place = np.concatenate([middle - size / 2, size])
        if elapsed > 0:
            track.velocity = blended(track.velocity, (middle - centre) / elapsed, elapsed, VELOCITY_SECONDS)

    def look(self, detections, seconds):
        """Give the faces that the detector found to tracks, begin new ones, and end those that are gone."""
        boxes = [np.array(detection.box, float) for detection in detections]
        left, taken = list(range(len(boxes))), []
        for visible in (True, False):
            waiting = [track for track in self.tracks if track.visible == visible]
            for track, number in pairs(waiting, boxes, left):
                left.remove(number)
                taken.append((track, number))
        for track, number in taken:
            track.place, track.score, track.found_at = boxes[number], detections[number].score, seconds
            track.times_found += 1
            track.detected = track.visible = True
        self.tracks = [track for track in self.tracks if track.detected or lives_on(track, seconds)]
        for track in self.tracks:
            if not track.detected and any(holds(box, track.centre) for box in boxes):
                track.visible = False  # another face is where this one was
        for number in left:
            self.tracks.append(Track(next(self.numbers), boxes[number], detections[number].score, seconds))
        for track in self.tracks:
            if track.detected:
                others = [other.place * self.scale for other in self.tracks if other.visible and other is not track]
                track.points = flow.points_inside(self.grey, track.place * self.scale, others)
                track.seeds = len(track.points)

    def smooth(self, tracks, probabilities, seconds):
        """Return probabilities `(n, classes)` of tracks as a running mean over time, and remember it.

        What was known weighs exp(-elapsed / `smoothing_seconds`), what is seen now the rest: after one time constant of
        any new expression 63 % of it shows. It does not depend on the frame rate, nor on `every`.

        Args:
            tracks: list of `Track`s of this frame.
            probabilities: float array `(n, classes)`, a row for each.
            seconds: float, when the frame is shown.
        """
        for track, values in zip(tracks, probabilities, strict=True):
            if track.probabilities is not None:
                values = blended(track.probabilities, values, seconds - track.named_at, self.smoothing_seconds)
            track.probabilities, track.named_at = np.asarray(values, float), seconds
        return np.array([track.probabilities for track in tracks]).reshape(np.shape(probabilities))


def blended(before, now, elapsed, time_constant):
    """Return the exponential running mean of values after so many seconds; a time constant of 0 keeps nothing.

    Example:

    >>> round(float(blended(0.0, 1.0, 0.5, 0.5)), 2)
    0.63
    """
    kept = np.exp(-max(elapsed, 0) / time_constant) if time_constant > 0 else 0.0
    return kept * before + (1 - kept) * now


def lives_on(track, seconds):
    """Tell whether a track that the detector just missed is kept."""
    return track.times_found > 1 and seconds - track.found_at <= COAST_SECONDS


def pairs(tracks, boxes, numbers):
    """Yield `(track, number of its box)`, the largest overlap first."""
    overlaps = [(overlap(track.place, boxes[number]), track, number) for track in tracks for number in numbers]
    used = set()
    for value, track, number in sorted(overlaps, key=lambda entry: -entry[0]):
        if value >= SMALLEST_OVERLAP and track not in used and number not in used:
            used |= {track, number}
            yield track, number


def holds(box, point):
    """Tell whether a point lies in a box."""
    return bool((box[:2] <= point).all() and (point <= box[:2] + box[2:]).all())


def inside(place, shape):
    """Return the left, top, right and bottom of the part of a box that is in a picture of this shape."""
    height, width = shape[:2]
    corners = np.concatenate([place[:2], place[:2] + place[2:]])
    return np.clip(corners, 0, [width, height, width, height])


def share_inside(place, shape):
    """Return what part of a box is in a picture of this shape."""
    left, top, right, bottom = inside(place, shape)
    return (right - left) * (bottom - top) / (place[2] * place[3])
