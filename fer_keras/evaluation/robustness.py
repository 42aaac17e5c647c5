"""Robustness to corruptions: blur, noise, darkness, rotation, low resolution, covered eyes or mouth."""

from collections.abc import Callable, Iterable
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from fer_keras.evaluation.intervals import accuracy_with_interval

# By kind of corruption: its unit, and its levels from none to severe.
CORRUPTIONS = {
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


def corrupt(images: np.ndarray, kind: str, level: float, *, seed: int = 0) -> np.ndarray:
    """Corrupt pictures, uint8 `(n, height, width, 1)`, in one way.

    Args:
        kind, level: key of `CORRUPTIONS`, and a number in its unit; its first level, the least, changes nothing.
        seed: of the noise, and of the side to which each picture is turned.

    Example:

    >>> corrupt(np.full((1, 4, 4, 1), 100, np.uint8), "darkness", 0.3)[0, 0, 0]
    array([70], dtype=uint8)
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"There is no corruption {kind!r}. Expected one of: {', '.join(CORRUPTIONS)}.")
    unit, (least, *_) = CORRUPTIONS[kind]
    most = 1 if unit.startswith("share") else 1000
    fits = images.dtype == np.uint8 and images.shape[3:] == (1,) and isinstance(level, Real)
    if not (fits and least <= level <= most):
        expected = f"Expected uint8 (n, height, width, 1), and a level in [{least}, {most}] ({unit})"
        raise ValueError(f"{expected}. Received: {images.dtype} {images.shape} and {level!r}.")
    pixels, generator = images[..., 0].astype(np.float32), np.random.default_rng(seed)
    if kind == "blur":
        pixels = blur(pixels, level)
    elif kind == "noise":
        pixels = pixels + generator.normal(0, level, pixels.shape)
    elif kind == "darkness":
        pixels = pixels * (1 - level)
    elif kind == "rotation":
        pixels = rotate(pixels, np.deg2rad(level * generator.choice((-1, 1), len(pixels))))
    elif kind == "resolution":  # smaller by averaging, and enlarged again
        size = pixels.shape[2], pixels.shape[1]
        small = [max(1, round(side / level)) for side in size]
        for one, image in zip(pixels, images[..., 0], strict=True):
            coarse = Image.fromarray(image).resize(small, Image.Resampling.BOX)
            one[:] = coarse.resize(size, Image.Resampling.BILINEAR)
    else:  # a bar of the picture's own mean grey across the width
        top, bottom = (round(pixels.shape[1] * (CENTRES[kind] + side * level / 2)) for side in (-1, 1))
        pixels[:, top:bottom] = pixels.mean(axis=(1, 2), keepdims=True)
    return np.rint(pixels.clip(0, 255)).astype(np.uint8)[..., None]


def robustness(
    predict: Callable, images: np.ndarray, labels: ArrayLike, *, kinds: Iterable = tuple(CORRUPTIONS), seed: int = 0
) -> list[dict]:
    """Measure a network's accuracy, with its 95 % interval, at each level of each corruption: dicts, one a level.

    Args:
        predict: function from uint8 pictures `(n, height, width, 1)` to probabilities `(n, classes)`.
        images, labels: such pictures, and their true classes, int `(n,)`.
        kinds, seed: keys of `CORRUPTIONS`, and as for `corrupt`.
    """
    rows = []
    for kind in kinds:
        for level in CORRUPTIONS[kind][1]:
            predictions = predict(corrupt(images, kind, level, seed=seed)).argmax(axis=1)
            scores = accuracy_with_interval(np.asarray(labels), predictions, "accuracy")
            rows.append({"kind": kind, "level": level, **scores})
    return rows


def blur(pixels, sigma):
    """Blur `(n, height, width)` pixels by a Gaussian, the border's pixels going on beyond it."""
    from scipy import ndimage

    return ndimage.gaussian_filter(pixels, sigma, radius=int(np.ceil(3 * sigma)), mode="nearest", axes=(1, 2))


def rotate(pixels, angles):
    """Turn `(n, height, width)` pixels by radians about the centre: bilinear, the border's pixels going on beyond."""
    n, height, width = pixels.shape
    cosine, sine, x, y = np.cos(angles), np.sin(angles), (width - 1) / 2, (height - 1) / 2
    entries = cosine, sine, x - cosine * x + sine * y, y - sine * x - cosine * y
    cosine, sine, right, down = np.stack(entries).astype(np.float32)[..., None, None]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source_x = np.clip(cosine * x - sine * y + right, 0, width - 1)
    source_y = np.clip(sine * x + cosine * y + down, 0, height - 1)
    left = np.minimum(source_x.astype(np.int32), width - 2)
    top = np.minimum(source_y.astype(np.int32), height - 2)
    right_part, lower_part = source_x - left, source_y - top
    corner = np.arange(n)[:, None, None] * (height * width) + top * width + left
    flat = pixels.ravel()
    upper = flat[corner] * (1 - right_part) + flat[corner + 1] * right_part
    lower = flat[corner + width] * (1 - right_part) + flat[corner + width + 1] * right_part
    return upper * (1 - lower_part) + lower * lower_part
