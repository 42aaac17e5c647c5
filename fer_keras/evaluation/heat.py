"""What heat maps are worth: whether a network needs what they mark, and on which part of the face they lie."""

import numpy as np
from PIL import Image

from fer_keras.evaluation.robustness import blurred

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the pixels that are deleted, the hottest first
RESAMPLES = 1000
GRID = 6  # cells a side of a random map, about as fine as the maps of networks
SIGMA = 6.0  # pixels, of the blur that deletes
# The bands of FER-2013's framing as shares of the height from the top: see its mean faces.
REGIONS = {
    "forehead": (0.0, 0.17),
    "brows": (0.17, 0.28),
    "eyes": (0.28, 0.44),
    "nose": (0.44, 0.66),
    "mouth": (0.66, 0.9),
    "chin": (0.9, 1.0),
}


def deletion_scores(predict, images, heat, targets, *, shares=SHARES, fill="mean", seed=0):
    """Return the probability of each face's class while its hottest pixels are deleted, share by share.

    A map that marks what the network needs lets it fall sooner than one that does not.

    Reference:
        Petsiuk, Das and Saenko (2018), RISE, arXiv:1806.07421, section 4.2.

    Args:
        predict: function from uint8 pictures `(n, height, width, 1)` to probabilities `(n, classes)`.
        images: uint8 `(n, height, width, 1)`.
        heat: float `(n, height, width)`; of equal values those go first that chance picks.
        targets: int `(n,)`, the class of each.
        shares: of the pixels, each in [0, 1].
        fill: what stands in a deleted pixel's place: `"mean"`, the picture's mean grey, or `"blur"`, a blurred copy.
        seed: int, of chance.

    Returns:
        float32 `(n, len(shares))`.

    Raises:
        ValueError: if the maps are not those of the images, or there is no such fill.
    """
    heat = np.asarray(heat, np.float32)
    if heat.shape != images.shape[:3]:
        raise ValueError(f"`heat` must have a map for each image, {images.shape[:3]}. Received: {heat.shape}.")
    if fill not in ("mean", "blur"):
        raise ValueError(f"`fill` must be 'mean' or 'blur'. Received: {fill!r}.")
    pixels = images[..., 0].astype(np.float32)
    put = blurred(pixels, SIGMA) if fill == "blur" else pixels.mean(axis=(1, 2), keepdims=True)
    flat = heat.reshape(len(heat), -1)
    ties = np.random.default_rng(seed).random(flat.shape)
    ranks = np.lexsort((ties, -flat), axis=-1).argsort(axis=-1).reshape(heat.shape)
    found = []
    for share in shares:
        changed = np.where(ranks < round(share * flat.shape[1]), put, pixels)
        said = predict(np.rint(changed).astype(np.uint8)[..., None])
        found.append(np.take_along_axis(np.asarray(said), np.asarray(targets)[:, None], axis=1)[:, 0])
    return np.stack(found, axis=1).astype(np.float32)


def area(scores, shares=SHARES):
    """Return the mean of each row of `deletion_scores` over the shares, `(n,)`: low if the probability fell soon.

    Example:

    >>> area(np.array([[1.0, 0.5, 0.0]]), (0.0, 0.25, 0.5))
    array([0.5])
    """
    return np.trapezoid(scores, shares, axis=1) / (shares[-1] - shares[0])


def mean_with_interval(values, *, seed=0):
    """Return the mean of values `(n,)`, such as paired differences, and its 95 % bootstrap interval as a dict.

    Reference:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.

    Raises:
        ValueError: if there are none.
    """
    values = np.asarray(values, float)
    if not len(values):
        raise ValueError("Expected one value at least. Received: none.")
    generator, total = np.random.default_rng(seed), len(values)
    means = [values[generator.integers(0, total, total)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return {name: round(float(value), 6) for name, value in (("mean", values.mean()), ("low", low), ("high", high))}


def random_heat(images, *, seed=0):
    """Return maps of chance, float32 `(n, height, width)` in [0, 1], as smooth as those of a network: a fair rival."""
    height, width = images.shape[1:3]
    cells = np.random.default_rng(seed).random((len(images), GRID, GRID), np.float32)
    size, smooth = (width, height), Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(each).resize(size, smooth)) for each in cells])


def others_heat(heat, *, seed=0):
    """Return the maps of other images: each one's own is replaced by that of another, drawn in a round."""
    order = np.random.default_rng(seed).permutation(len(heat))
    found = np.empty_like(heat)
    found[order] = heat[np.roll(order, 1)]
    return found


def region_shares(heat):
    """Return which share of each map's heat lies in each band of the face: a dict from `REGIONS` to `(n,)`.

    Maps without any heat count as even ones. Bands end between two rows where their share of the height does.
    """
    heat = np.asarray(heat, float)
    rows = heat.sum(axis=2)
    rows = np.where(rows.sum(axis=1, keepdims=True) > 0, rows, 1)
    rows = rows / rows.sum(axis=1, keepdims=True)
    edges = np.arange(heat.shape[1] + 1) / heat.shape[1]
    below = np.concatenate([np.zeros((len(rows), 1)), rows.cumsum(axis=1)], axis=1)
    return {
        name: np.array([np.interp(bottom, edges, each) - np.interp(top, edges, each) for each in below])
        for name, (top, bottom) in REGIONS.items()
    }
