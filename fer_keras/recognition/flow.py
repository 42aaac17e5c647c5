"""Where a face went from one frame to the next, by optical flow on a small grey copy of the frames."""

import dataclasses

import cv2
import numpy as np

LONGEST_SIDE = 480  # of the small copy, in pixels
MOST_POINTS = 40
FEWEST_POINTS = 6
SMALLEST_SHARE = 0.4  # of the points that there were at the last detection; fewer are no face
CORE = 0.7  # points lie in this part of a box's width and height, where no background is
WINDOW, LEVELS = (15, 15), 3
ROUND_TRIP = 1.0  # pixels by which a point that is followed there and back may miss itself
DIFFERENCE = 25.0  # grey levels by which what surrounds a point may differ
STRAY = 0.15  # of a face's size, by which a point may move otherwise than the rest
LARGEST_GROWTH = 1.2  # from one frame to the next


@dataclasses.dataclass(frozen=True)
class Move:
    """How a face moved: it grew by `growth` about the origin, then went by `shift`; `points` are where it is now."""

    points: np.ndarray
    growth: float
    shift: np.ndarray

    def apply(self, point):
        """Return where a point of the face went."""
        return self.growth * point + self.shift


def small_grey(rgb):
    """Return a grey copy of a picture, its longest side at most `LONGEST_SIDE`, and its size against the picture's."""
    scale, grey = min(1.0, LONGEST_SIDE / max(rgb.shape[:2])), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if scale < 1:
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return grey, scale


def points_inside(grey, box, others=()):
    """Return the corners in the middle of a box that are best to follow, float32 `(n, 2)`.

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


def follow(before, after, groups, seeds):
    """Return the `Move` of each group of points between two grey frames, or None where it is lost.

    A point counts if it comes back to itself when followed backwards, looks as it did, and moves as most of its group
    do. Shift and growth are medians: of where points went, and of how the distances between them changed.

    Reference:
        Kalal, Mikolajczyk and Matas (2010), Forward-backward error: automatic detection of tracking failures, ICPR.

    Args:
        before, after: uint8 arrays `(height, width)`.
        groups: list of float32 arrays `(n, 2)`, the points of each face in `before`.
        seeds: list of ints, how many points each face had at first.
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
    """Return the `Move` that takes points to where they were found, or None if too few can be believed."""
    enough = max(FEWEST_POINTS, SMALLEST_SHARE * seeds)
    if good.sum() < enough:
        return None
    start, end = start[good].astype(float), end[good].astype(float)
    growth = growth_of(start, end)
    shift = np.median(end - growth * start, axis=0)
    near = np.linalg.norm(growth * start + shift - end, axis=1) <= 1 + STRAY * np.ptp(start, axis=0).max()
    if near.sum() < enough:
        return None
    return Move(end[near].astype(np.float32), growth, shift)


def growth_of(start, end):
    """Return by how much the distances between points grew, in the median."""
    one, other = np.triu_indices(len(start), 1)
    before = np.linalg.norm(start[one] - start[other], axis=1)
    after = np.linalg.norm(end[one] - end[other], axis=1)
    far = before > 1
    if not far.any():
        return 1.0
    return float(np.clip(np.median(after[far] / before[far]), 1 / LARGEST_GROWTH, LARGEST_GROWTH))
