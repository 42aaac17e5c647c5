"""Follows faces from frame to frame, so that one face keeps one number and the detector may rest in between."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from fer_keras.recognition.detectors import Detection, overlap

SMALLEST_OVERLAP = 0.25  # intersection over union from which a detection is the face that was followed to there
COAST_SECONDS = 1.0  # how long a face that the detector misses lives on
VELOCITY_SECONDS = 0.2  # time constant of a face's velocity
SMALLEST_SHARE = 0.5  # of a box, inside the picture; below it the face has left
# Optical flow, on a small grey copy of the frames.
LONGEST_SIDE = 480  # of the copy, in pixels
MOST_POINTS, FEWEST_POINTS = 40, 6  # of a face
POINTS_LEFT = 0.4  # share of the points that there were at the last detection; fewer are no face
CORE = 0.7  # points lie in this part of a box's width and height, where no background is
WINDOW, LEVELS = (15, 15), 3
ROUND_TRIP = 1.0  # pixels by which a point that is followed there and back may miss itself
DIFFERENCE = 25.0  # grey levels by which what surrounds a point may differ
STRAY = 0.15  # of a face's size, by which a point may move otherwise than the rest
LARGEST_GROWTH = 1.2  # from one frame to the next


@dataclasses.dataclass(eq=False)
class Track:
    """One face, followed.

    Args:
        id: int from 1, never given twice.
        place: float array `(left, top, width, height)` in pixels, may reach beyond the picture.
        score: the detector's score when it last found the face.
        angle: degrees by which it was turned then, as of a `Detection`.
        found_at: seconds of the video at which the detector last found it.
        times_found: int, how often the detector found it.
        detected: whether the detector found it in this frame.
        visible: whether it is seen in this frame: found, or followed without being lost.
        points: float32 array `(n, 2)` of what is followed, in pixels of the small grey frame.
        seeds: int, how many points there were when the detector last found the face.
        velocity: float array, pixels a second to the right and down.
        probabilities: float array `(classes,)`, smoothed, or None before there are any.
        smoothed_at: seconds at which `probabilities` were right.
    """

    id: int
    place: np.ndarray
    score: float
    angle: float
    found_at: float
    times_found: int = 1
    detected: bool = True
    visible: bool = True
    points: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), np.float32))
    seeds: int = 0
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))
    probabilities: np.ndarray | None = None
    smoothed_at: float = 0.0

    @property
    def centre(self):
        """`(x, y)` of the middle of the face."""
        return self.place[:2] + self.place[2:] / 2

    def box(self, shape: tuple) -> tuple:
        """`(left, top, width, height)` as ints, cut at the edges of a picture of this shape."""
        left, top, right, bottom = inside(self.place, shape).round().astype(int).tolist()
        return left, top, right - left, bottom - top

    def detection(self, shape: tuple) -> Detection:
        """The face as a detector would give it in a picture of this shape."""
        return Detection(self.box(shape), self.score, self.angle)


class Tracker:
    """Gives each face of a video a number that it keeps.

    The detector looks at every n-th frame. Its faces go to the tracks by intersection over union, the largest first;
    tracks that are seen choose before those that are lost. In all frames tracks are followed by optical flow.

    A track is born at once, so that a face is in the table from its first frame. One that the detector does not find a
    second time, as most false alarms, dies at that look. Any other lives on for `COAST_SECONDS` without being found;
    meanwhile it is followed, or, when the flow loses it or another face stands in front of it, moves on unseen at its
    last velocity and waits to be found. A face of which less than half is in the picture has left it.

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

    def update(self, rgb: np.ndarray, seconds: float, detect: Callable) -> list[Track]:
        """The `Track`s that are seen in the next frame, by their number.

        Args:
            rgb: uint8 array `(height, width, 3)`.
            seconds: float, when the frame is shown.
            detect: function from `rgb` to `Detection`s, called on every n-th frame.
        """
        scale, grey = min(1.0, LONGEST_SIDE / max(rgb.shape[:2])), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        if scale < 1:
            size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        before, self.grey, self.scale = self.grey, grey, scale
        elapsed, self.seconds = seconds - self.seconds, seconds
        self.follow(before, elapsed)
        if self.frame % self.every == 0:
            self.look(detect(rgb), seconds)
        self.tracks = [track for track in self.tracks if share_inside(track.place, rgb.shape) >= SMALLEST_SHARE]
        self.frame += 1
        return [track for track in self.tracks if track.visible]

    def follow(self, before, elapsed):
        """Move every track from the frame before, if there is one, to this one."""
        seen = [track for track in self.tracks if track.visible]
        moves = [None] * len(seen)
        if before is not None and before.shape == self.grey.shape:
            moves = flow(before, self.grey, [track.points for track in seen], [track.seeds for track in seen])
        for track in self.tracks:
            track.detected = False
            if not track.visible:
                track.place[:2] += track.velocity * max(elapsed, 0)
        for track, move in zip(seen, moves, strict=True):
            if move is None:
                track.visible = False
                continue
            track.points, growth, shift = move
            centre = track.centre
            middle, size = (growth * centre * self.scale + shift) / self.scale, track.place[2:] * growth
            track.place = np.concatenate([middle - size / 2, size])
            if elapsed > 0:
                track.velocity = blended(track.velocity, (middle - centre) / elapsed, elapsed, VELOCITY_SECONDS)

    def look(self, detections, seconds):
        """Give the faces that the detector found to tracks, begin new ones, and end those that are gone."""
        boxes = [np.array(detection.box, float) for detection in detections]
        left = list(range(len(boxes)))
        for visible in (True, False):
            waiting = [track for track in self.tracks if track.visible == visible and not track.detected]
            values = [(overlap(track.place, boxes[number]), track, number) for track in waiting for number in left]
            for value, track, number in sorted(values, key=lambda entry: -entry[0]):
                if value >= SMALLEST_OVERLAP and not track.detected and number in left:
                    left.remove(number)
                    _, track.score, track.angle = detections[number]
                    track.place, track.found_at = boxes[number], seconds
                    track.times_found += 1
                    track.detected = track.visible = True
        self.tracks = [
            track
            for track in self.tracks
            if track.detected or (track.times_found > 1 and seconds - track.found_at <= COAST_SECONDS)
        ]
        for track in self.tracks:
            if not track.detected and any(
                (box[:2] <= track.centre).all() and (track.centre <= box[:2] + box[2:]).all() for box in boxes
            ):
                track.visible = False  # another face is where this one was
        for number in left:
            _, score, angle = detections[number]
            self.tracks.append(Track(next(self.numbers), boxes[number], score, angle, seconds))
        for track in self.tracks:
            if track.detected:
                others = [other.place * self.scale for other in self.tracks if other.visible and other is not track]
                track.points = points_inside(self.grey, track.place * self.scale, others)
                track.seeds = len(track.points)

    def smooth(self, tracks: list[Track], probabilities: np.ndarray, seconds: float) -> np.ndarray:
        """Smooth the probabilities `(n, classes)` of this frame's tracks over time by a running mean, and remember it.

        What was known weighs exp(-elapsed / `smoothing_seconds`), what is seen now the rest: after one time constant of
        any new expression 63 % of it shows. It does not depend on the frame rate, nor on `every`.
        """
        for track, values in zip(tracks, probabilities, strict=True):
            if track.probabilities is not None:
                values = blended(track.probabilities, values, seconds - track.smoothed_at, self.smoothing_seconds)
            track.probabilities, track.smoothed_at = np.asarray(values, float), seconds
        return np.array([track.probabilities for track in tracks]).reshape(np.shape(probabilities))


def blended(before, now, elapsed: float, time_constant: float):
    """The exponential running mean of values after so many seconds; a time constant of 0 keeps nothing.

    Example:

    >>> round(float(blended(0.0, 1.0, 0.5, 0.5)), 2)
    0.63
    """
    kept = np.exp(-max(elapsed, 0) / time_constant) if time_constant > 0 else 0.0
    return kept * before + (1 - kept) * now


def inside(place, shape):
    """The left, top, right and bottom of the part of a box that is in a picture of this shape."""
    height, width = shape[:2]
    return np.clip([*place[:2], *(place[:2] + place[2:])], 0, [width, height, width, height])


def share_inside(place, shape):
    """What part of a box is in a picture of this shape."""
    left, top, right, bottom = inside(place, shape)
    return (right - left) * (bottom - top) / (place[2] * place[3])


def points_inside(grey, box, others=()):
    """The corners in the middle of a box that are best to follow, float32 `(n, 2)`.

    Where other faces' boxes lie over it, a corner may be theirs: it is left out, if enough others remain.
    """
    margin = (1 - CORE) / 2 * box[2:]
    left, top = np.maximum(box[:2] + margin, 0).astype(int)
    right, bottom = np.ceil(box[:2] + box[2:] - margin).astype(int)
    part = grey[top : max(bottom, 0), left : max(right, 0)]
    found = cv2.goodFeaturesToTrack(part, MOST_POINTS, 0.02, 2) if min(part.shape) >= 3 else None
    if found is None:
        return np.zeros((0, 2), np.float32)
    points = found.reshape(-1, 2) + np.array([left, top], np.float32)
    shared = np.zeros(len(points), bool)
    for other in others:
        shared |= ((other[:2] <= points) & (points <= other[:2] + other[2:])).all(axis=1)
    return points[~shared] if (~shared).sum() >= 2 * FEWEST_POINTS else points


def flow(before: np.ndarray, after: np.ndarray, groups: Sequence, seeds: Sequence) -> list:
    """How each group of points moved between two grey frames: where the points are, growth, shift; None if it is lost.

    A point counts if it comes back to itself when followed backwards, looks as it did, and moves as most of its group
    do. The group grew by `growth` about the origin, then went by `shift`: medians of where points went, and of how the
    distances between them changed.

    `seeds` are how many points each group, float32 `(n, 2)`, had at first.

    Reference:
        Kalal, Mikolajczyk and Matas (2010), Forward-backward error: automatic detection of tracking failures, ICPR.
    """
    if not sum(map(len, groups)):
        return [None] * len(groups)
    start = np.concatenate(groups)
    options = {"winSize": WINDOW, "maxLevel": LEVELS}
    end, found, difference = cv2.calcOpticalFlowPyrLK(before, after, start, None, **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, end, None, **options)
    good = (found & returned).ravel().astype(bool) & (difference.ravel() < DIFFERENCE)
    good &= np.linalg.norm(back - start, axis=1) < ROUND_TRIP
    ends = np.cumsum([len(group) for group in groups])[:-1]
    parts = [np.split(part, ends) for part in (start, end, good)]
    return [move_of(*group) for group in zip(*parts, seeds, strict=True)]


def move_of(start, end, good, seeds):
    """The points, growth and shift that take a group to where it was found, or None if too few can be believed."""
    enough = max(FEWEST_POINTS, POINTS_LEFT * seeds)
    if good.sum() < enough:
        return None
    start, end = start[good].astype(float), end[good].astype(float)
    pairs = np.triu_indices(len(start), 1)
    before, after = (np.linalg.norm(points[pairs[0]] - points[pairs[1]], axis=1) for points in (start, end))
    far, growth = before > 1, 1.0
    if far.any():
        growth = float(np.clip(np.median(after[far] / before[far]), 1 / LARGEST_GROWTH, LARGEST_GROWTH))
    shift = np.median(end - growth * start, axis=0)
    near = np.linalg.norm(growth * start + shift - end, axis=1) <= 1 + STRAY * np.ptp(start, axis=0).max()
    return (end[near].astype(np.float32), growth, shift) if near.sum() >= enough else None
