"""Follows faces from frame to frame, so that one face keeps one number and the detector may rest in between."""

import dataclasses
import itertools
from collections.abc import Callable
from numbers import Real

import cv2
import numpy as np

from fer_keras.recognition.detectors import Detection, overlap

COAST_SECONDS = 1.0  # how long a face that the detector misses lives on
FEWEST_POINTS = 6  # of a face that is followed


@dataclasses.dataclass(eq=False)
class Track:
    """One face, followed."""

    id: int  # from 1, never given twice
    place: np.ndarray  # float (left, top, width, height) in pixels, may reach beyond the picture
    found: Detection  # by which the detector last found it
    found_at: float  # seconds of the video at that time
    times_found: int = 1  # by the detector
    detected: bool = True  # whether the detector found it in this frame
    visible: bool = True  # whether it is seen in this frame: found, or followed without being lost
    points: np.ndarray | None = None  # that are followed, float32 (n, 2), in pixels of the small grey frame
    seeds: int = 0  # how many points there were when the detector last found the face
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))  # pixels a second, right and down
    probabilities: np.ndarray | None = None  # float (classes,), smoothed; None before there are any
    smoothed_at: float = 0.0  # seconds at which `probabilities` were right

    @property
    def centre(self):
        """`(x, y)` of the middle of the face."""
        return self.place[:2] + self.place[2:] / 2

    def detection(self, shape: tuple) -> Detection:
        """The face as a detector would give it in a picture of this shape, cut at its edges."""
        left, top, right, bottom = inside(self.place, shape).round().astype(int).ravel().tolist()
        return self.found._replace(box=(left, top, right - left, bottom - top))


class Tracker:
    """Gives each face of a video a number that it keeps.

    The detector looks at frames 0, `every`, 2 `every`, ...; in all frames tracks are followed by optical flow. A track
    is born at once; one that the detector does not find a second time, as most false alarms, dies at that look. Any
    other lives on for `COAST_SECONDS` without being found; meanwhile it is followed, or, when the flow loses it or
    another face stands in front of it, moves on unseen at its last velocity. `smoothing_seconds` is for `smooth`.

    Reference:
        Bewley, Ge, Ott, Ramos and Upcroft (2016), Simple online and realtime tracking, arXiv:1602.00763, whose scheme
        it is, with optical flow in the place of the Kalman filter.
    """

    def __init__(self, *, every: int = 5, smoothing_seconds: float = 0.5):
        if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
            raise ValueError(f"`every` must be a whole number of frames, at least 1. Received: {every!r}.")
        if not (isinstance(smoothing_seconds, Real) and 0 <= smoothing_seconds < np.inf):
            raise ValueError(f"`smoothing_seconds` must be at least 0. Received: {smoothing_seconds!r}.")
        self.every, self.smoothing_seconds = every, smoothing_seconds
        self.tracks, self.numbers = [], itertools.count(1)
        self.frame, self.grey, self.scale, self.seconds = 0, None, 1.0, 0.0

    def update(self, rgb: np.ndarray, seconds: float, detect: Callable) -> list[Track]:
        """The `Track`s that are seen in the next frame, shown at a time; `detect` finds `Detection`s in some frames."""
        self.scale = min(1.0, 480 / max(rgb.shape[:2]))  # optical flow sees a small grey copy
        size = [max(1, round(side * self.scale)) for side in rgb.shape[1::-1]]
        before, elapsed, self.seconds = self.grey, max(seconds - self.seconds, 0), seconds
        self.grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        for track in self.tracks:
            track.detected = False
            if not track.visible:
                track.place[:2] += track.velocity * elapsed
        self.follow(before, elapsed)
        if self.frame % self.every == 0:
            self.look(detect(rgb), seconds)
        shares = [np.ptp(inside(each.place, rgb.shape), axis=0).prod() / each.place[2:].prod() for each in self.tracks]
        self.tracks = [track for track, share in zip(self.tracks, shares, strict=True) if share >= 0.5]  # others left
        self.frame += 1
        return [track for track in self.tracks if track.visible]

    def follow(self, before, elapsed):
        """Move the tracks that were seen to this frame as most of their points moved; without enough they are lost."""
        seen = [track for track in self.tracks if track.visible]
        counts = [len(track.points) for track in seen]
        if not sum(counts) or before.shape != self.grey.shape:
            for track in seen:
                track.visible = False
            return
        start, options = np.concatenate([track.points for track in seen]), {"winSize": (15, 15), "maxLevel": 3}
        end, found, difference = cv2.calcOpticalFlowPyrLK(before, self.grey, start, None, **options)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(self.grey, before, end, None, **options)
        good = (found & returned).ravel().astype(bool) & (difference.ravel() < 25)  # grey levels about a point
        good &= np.linalg.norm(back - start, axis=1) < 1  # pixel of forward-backward error (Kalal et al., ICPR 2010)
        groups = (np.split(part, np.cumsum(counts)[:-1]) for part in (start, end, good))
        for track, *points in zip(seen, *groups, strict=True):
            move = moved(*points, enough=max(FEWEST_POINTS, 0.4 * track.seeds))
            track.visible = move is not None
            if track.visible:
                track.points, growth, shift = move
                centre, size = track.centre, track.place[2:] * growth
                middle = (growth * centre * self.scale + shift) / self.scale
                track.place = np.concatenate([middle - size / 2, size])
                if elapsed > 0:
                    track.velocity = blended(track.velocity, (middle - centre) / elapsed, elapsed, 0.2)

    def look(self, detections, seconds):
        """Give found faces to tracks, seen ones first, then by overlap (IoU); others begin tracks; tracks gone end."""
        boxes, left = [np.array(detection.box, float) for detection in detections], list(range(len(detections)))
        pairs = [(each.visible, overlap(each.place, boxes[i]), each, i) for each in self.tracks for i in left]
        for _, common, track, number in sorted(pairs, key=lambda pair: pair[:2], reverse=True):
            if common >= 0.25 and not track.detected and number in left:
                left.remove(number)
                track.place, track.found, track.found_at = boxes[number], detections[number], seconds
                track.times_found += 1
                track.detected = track.visible = True
        alive = [each for each in self.tracks if each.times_found > 1 and seconds - each.found_at <= COAST_SECONDS]
        for track in alive:
            if not track.detected and any(is_within(track.centre, box) for box in boxes):
                track.visible = False  # another face is where this one was
        self.tracks = alive + [Track(next(self.numbers), boxes[i], detections[i], seconds) for i in left]
        for track in self.tracks:
            if track.detected:
                others = [other.place * self.scale for other in self.tracks if other.visible and other is not track]
                track.points = points_inside(self.grey, track.place * self.scale, others)
                track.seeds = len(track.points)

    def smooth(self, tracks: list[Track], probabilities: np.ndarray, seconds: float) -> np.ndarray:
        """Smooth the probabilities `(n, classes)` of this frame's tracks over time by a running mean, and remember it.

        What was known weighs exp(-elapsed / `smoothing_seconds`), what is seen now the rest, at any frame rate.
        """
        for track, values in zip(tracks, probabilities, strict=True):
            if track.probabilities is not None:
                values = blended(track.probabilities, values, seconds - track.smoothed_at, self.smoothing_seconds)
            track.probabilities, track.smoothed_at = np.asarray(values, float), seconds
        return np.array([track.probabilities for track in tracks]).reshape(np.shape(probabilities))


def blended(before, now, elapsed: float, time_constant: float):
    """The exponential running mean of values after so many seconds; a time constant of 0 keeps nothing."""
    kept = np.exp(-max(elapsed, 0) / time_constant) if time_constant > 0 else 0.0
    return kept * before + (1 - kept) * now


def inside(place, shape):
    """The corners `[(left, top), (right, bottom)]` of the part of a box that is in a picture of this shape."""
    return np.clip([place[:2], place[:2] + place[2:]], 0, shape[1::-1])


def is_within(points, box):
    """True for each of the points `(..., 2)` that lies in a box."""
    return ((box[:2] <= points) & (points <= box[:2] + box[2:])).all(axis=-1)


def points_inside(grey, box, others):
    """The corners in the middle of a box best to follow, float32 `(n, 2)`; in others' boxes only if few remain."""
    margin = 0.15 * box[2:]
    left, top = np.maximum(box[:2] + margin, 0).astype(int)
    right, bottom = np.maximum(np.ceil(box[:2] + box[2:] - margin), 0).astype(int)
    part = grey[top:bottom, left:right]
    found = cv2.goodFeaturesToTrack(part, 40, 0.02, 2) if min(part.shape) >= 3 else None
    if found is None:
        return np.zeros((0, 2), np.float32)
    points = found.reshape(-1, 2) + np.array([left, top], np.float32)
    own = ~np.any([is_within(points, other) for other in others], axis=0)
    return points[own] if own.sum() >= 2 * FEWEST_POINTS else points


def moved(start, end, good, enough):
    """The points that moved as most do, their growth about the origin, and their shift after it; None if too few do."""
    if good.sum() < enough:
        return None
    start, end = start[good].astype(float), end[good].astype(float)
    one, other = np.triu_indices(len(start), 1)
    before, after = (np.linalg.norm(points[one] - points[other], axis=1) for points in (start, end))
    far = before > 1
    growth = float(np.clip(np.median(after[far] / before[far]), 1 / 1.2, 1.2)) if far.any() else 1.0
    shift = np.median(end - growth * start, axis=0)
    near = np.linalg.norm(growth * start + shift - end, axis=1) <= 1 + 0.15 * np.ptp(start, axis=0).max()
    return (end[near].astype(np.float32), growth, shift) if near.sum() >= enough else None
