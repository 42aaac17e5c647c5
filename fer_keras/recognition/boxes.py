"""What all detectors share: at which size a picture is searched, and boxes that fit it and are a face each."""

from typing import NamedTuple

from PIL import Image

LONGEST_SIDE = 1024  # pixels; larger pictures are searched at this size, so that none takes minutes
SMALLEST_SHARE = 0.05  # of a picture's longer side: smaller faces are not sought unless asked for
SMALLEST_SIDE = 48  # pixels, that of FER-2013's faces: a network would see smaller ones enlarged
MOST_OVERLAP = 0.5  # two boxes that share more of the smaller one show one face


class Detection(NamedTuple):
    """A face found: its box `(left, top, width, height)` in pixels, and how sure the detector is, in [0, 1]."""

    box: tuple
    score: float


def smallest_side(rgb, min_size=None):
    """Return the side in pixels of the smallest face that is sought in a picture.

    Args:
        rgb: array `(height, width, 3)`.
        min_size: a share of the picture's longer side; None is `SMALLEST_SHARE`, at least `SMALLEST_SIDE` pixels, and
            no more than half of the shorter side, so that small pictures are searched too.
    """
    shorter, longer = sorted(rgb.shape[:2])
    if min_size is not None:
        return max(1, min_size * longer)
    return max(1, min(shorter / 2, max(SMALLEST_SIDE, SMALLEST_SHARE * longer)))


def scaled(rgb, factor):
    """Return a PIL image that shows a picture at `factor` times its size."""
    picture = Image.fromarray(rgb)
    if factor == 1:
        return picture
    size = [max(1, round(side * factor)) for side in picture.size]
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def finished(boxes, scores, rgb, factor=1.0):
    """Return `Detection`s on the whole picture, the best first, without those of a face that was found already.

    Args:
        boxes: iterable of `(left, top, width, height)`, found at `factor` times the picture's size.
        scores: iterable of floats in [0, 1].
        rgb: the picture at its full size.
        factor: float.
    """
    height, width = rgb.shape[:2]
    found = []
    for box, score in sorted(zip(boxes, scores, strict=True), key=lambda pair: -pair[1]):
        left, top, across, down = (float(value) / factor for value in box)
        right, bottom = min(width, round(left + across)), min(height, round(top + down))
        left, top = max(0, round(left)), max(0, round(top))
        box = (left, top, right - left, bottom - top)
        if min(box[2:]) > 0 and all(shared(box, other.box) <= MOST_OVERLAP for other in found):
            found.append(Detection(box, min(1.0, max(0.0, float(score)))))
    return found


def shared(box, other):
    """Return how much of the smaller of two boxes lies in the other, in [0, 1].

    Example:

    >>> shared((0, 0, 10, 10), (5, 0, 10, 20))
    0.5
    """
    return common(box, other) / min(box[2] * box[3], other[2] * other[3])


def overlap(box, other):
    """Return the intersection over union of two boxes `(left, top, width, height)`.

    Example:

    >>> overlap((0, 0, 2, 2), (1, 0, 2, 2))
    0.3333333333333333
    """
    both = common(box, other)
    return float(both / (box[2] * box[3] + other[2] * other[3] - both))


def common(box, other):
    """Return the area that two boxes have in common."""
    across = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    down = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(0, across) * max(0, down)
