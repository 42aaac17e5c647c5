"""How much a network loses when pictures get worse: blurred, noisy, dark, turned, small, or partly covered."""

import numpy as np

from fer_keras.data.transforms import warp
from fer_keras.evaluation.intervals import accuracy_with_interval

# By kind of damage: its unit, and its levels from none to severe.
DAMAGES = {
    "blur": ("sigma of a Gaussian in pixels", (0, 0.5, 1, 1.5, 2, 3)),
    "noise": ("standard deviation in grey values", (0, 8, 16, 32, 48, 64)),
    "darkness": ("share of the light that is taken away", (0, 0.3, 0.5, 0.7, 0.8, 0.9)),
    "rotation": ("degrees", (0, 5, 10, 20, 30, 45)),
    "resolution": ("how many times smaller, and back", (1, 1.5, 2, 3, 4, 6)),
    "eyes covered": ("share of the height, about the eyes", (0, 0.1, 0.2, 0.3)),
    "mouth covered": ("share of the height, about the mouth", (0, 0.1, 0.2, 0.3)),
}
# Where FER-2013's framing has eyes and mouth, as a share of the height from the top: see its mean faces.
CENTRES = {"eyes covered": 0.35, "mouth covered": 0.78}


def damage(images, kind, level, *, seed=0):
    """Return pictures with one kind of damage.

    Args:
        images: uint8 `(n, height, width, 1)`, values in [0, 255].
        kind: key of `DAMAGES`.
        level: float, in the unit that stands there; its first level changes nothing.
        seed: int, draws the noise, and to which side each picture is turned.

    Returns:
        uint8 `(n, height, width, 1)`.

    Raises:
        ValueError: if there is no such kind.

    Example:

    >>> damage(np.full((1, 4, 4, 1), 100, np.uint8), "darkness", 0.3)[0, 0, 0]
    array([70], dtype=uint8)
    """
    if kind not in DAMAGES:
        raise ValueError(f"There is no damage {kind!r}. Expected one of: {', '.join(DAMAGES)}.")
    pixels, generator = images[..., 0].astype(np.float32), np.random.default_rng(seed)
    if kind == "blur":
        pixels = blurred(pixels, level)
    elif kind == "noise":
        pixels = pixels + generator.normal(0, level, pixels.shape) if level else pixels
    elif kind == "darkness":
        pixels = pixels * (1 - level)
    elif kind == "rotation":
        pixels = turned(pixels, level * generator.choice((-1, 1), len(pixels)))
    elif kind == "resolution":
        pixels = coarse(pixels, level)
    else:
        pixels = covered(pixels, CENTRES[kind], level)
    return np.rint(pixels.clip(0, 255)).astype(np.uint8)[..., None]


def robustness(predict, images, labels, *, kinds=tuple(DAMAGES), seed=0):
    """Return a network's accuracy at each level of each damage.

    Args:
        predict: function from uint8 pictures `(n, height, width, 1)` to probabilities `(n, classes)`.
        images: uint8 `(n, height, width, 1)`.
        labels: int array `(n,)`, true classes.
        kinds: keys of `DAMAGES`.
        seed: int, as for `damage`.

    Returns:
        A list of dicts: `kind`, `level`, and `accuracy` with its 95 % interval.
    """
    rows = []
    for kind in kinds:
        for level in DAMAGES[kind][1]:
            said = predict(damage(images, kind, level, seed=seed)).argmax(axis=1)
            scores = accuracy_with_interval(np.asarray(labels), said, "accuracy")
            rows.append({"kind": kind, "level": level, **scores})
    return rows


def blurred(pixels, sigma):
    """Return `(n, height, width)` pixels after a Gaussian, the border's pixels going on beyond it."""
    if not sigma:
        return pixels
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    weights /= weights.sum()
    for axis in (1, 2):
        size = pixels.shape[axis]
        padded = np.pad(pixels, [(reach, reach) if other == axis else (0, 0) for other in range(3)], mode="edge")
        windows = (np.take(padded, range(step, step + size), axis=axis) for step in range(2 * reach + 1))
        pixels = sum(weight * window for weight, window in zip(weights, windows, strict=True))
    return pixels


def turned(pixels, degrees):
    """Return `(n, height, width)` pixels turned about the centre by so many degrees each, `(n,)`."""
    n, height, width = pixels.shape
    angle, (x, y) = np.deg2rad(degrees), ((width - 1) / 2, (height - 1) / 2)
    cosine, sine = np.cos(angle), np.sin(angle)
    maps = np.zeros((n, 8), np.float32)
    maps[:, 0], maps[:, 1], maps[:, 2] = cosine, -sine, x - cosine * x + sine * y
    maps[:, 3], maps[:, 4], maps[:, 5] = sine, cosine, y - sine * x - cosine * y
    return warp(pixels, maps)


def coarse(pixels, factor):
    """Return `(n, height, width)` pixels made so many times smaller, by averaging, and enlarged to their size again."""
    from PIL import Image

    height, width = pixels.shape[1:]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    if small == (width, height):
        return pixels
    pictures = (Image.fromarray(np.rint(one).astype(np.uint8)) for one in pixels)
    made = [
        one.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR) for one in pictures
    ]
    return np.stack([np.asarray(one, np.float32) for one in made])


def covered(pixels, centre, share):
    """Return `(n, height, width)` pixels with a bar of their own mean grey across the width."""
    height, pixels = pixels.shape[1], pixels.copy()
    top, bottom = (round(height * (centre + side * share / 2)) for side in (-1, 1))
    pixels[:, top:bottom] = pixels.mean(axis=(1, 2), keepdims=True)
    return pixels
