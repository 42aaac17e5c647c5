"""Tests of heatmaps: deletion of what they mark, random rivals, and the parts of the face on which they lie."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from fer_keras.evaluation.intervals import mean_with_interval
from fer_keras.evaluation.robustness import blur

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the pixels that are deleted, the hottest first
FILLS = ("mean", "blur")  # what stands in a deleted pixel's place: the picture's mean grey, or a blurred copy
# The bands of FER-2013's framing as shares of the height from the top: see its mean faces.
REGIONS = {"forehead": (0.0, 0.17), "brows": (0.17, 0.28), "eyes": (0.28, 0.44)}
REGIONS |= {"nose": (0.44, 0.66), "mouth": (0.66, 0.9), "chin": (0.9, 1.0)}


def deletion_scores(
    predict: Callable, images: np.ndarray, maps: ArrayLike, targets: ArrayLike, *, shares=SHARES, fill: str = "mean"
) -> np.ndarray:
    """Probability of each face's class, float32 `(n, shares)`, while its hottest pixels are deleted, share by share.

    The sooner it falls, the more the map marks what the network needs. Equal values go in random order.

    Reference:
        Petsiuk, Das and Saenko (2018), RISE, arXiv:1806.07421, section 4.2.

    Args:
        predict: function from uint8 pictures `(n, height, width, 1)` to probabilities `(n, classes)`.
        images, maps, targets: uint8 `(n, height, width, 1)`, float `(n, height, width)`, and the class of each.
        shares, fill: each in [0, 1], and one of `FILLS`.
    """
    maps, pixels = np.asarray(maps, np.float32), images[..., 0].astype(np.float32)
    if maps.shape != pixels.shape or fill not in FILLS:
        expected = f"Expected a map for each image, {pixels.shape}, and a `fill` of {' or '.join(FILLS)}"
        raise ValueError(f"{expected}. Received: {maps.shape} and {fill!r}. Explain these images.")
    flat = maps.reshape(len(images), -1)
    put = blur(pixels, 6.0) if fill == "blur" else pixels.mean(axis=(1, 2), keepdims=True)
    ties = np.random.default_rng(0).random(flat.shape)
    ranks = np.lexsort((ties, -flat), axis=-1).argsort(axis=-1).reshape(pixels.shape)
    scores = []
    for share in shares:
        changed = np.where(ranks < round(share * flat.shape[1]), put, pixels)
        probabilities = np.asarray(predict(np.rint(changed).astype(np.uint8)[..., None]))
        scores.append(np.take_along_axis(probabilities, np.asarray(targets)[:, None], axis=1)[:, 0])
    return np.stack(scores, axis=1).astype(np.float32)


def random_heatmaps(images: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Random maps, float32 `(n, height, width)` in [0, 1], as smooth as those of a network: a fair rival."""
    height, width = images.shape[1:3]
    cells = np.random.default_rng(seed).random((len(images), 6, 6), np.float32)  # about as fine as the maps of networks
    smooth = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(each).resize((width, height), smooth)) for each in cells])


def deletion_curves(predict: Callable, images: np.ndarray, targets: ArrayLike, maps: dict, fill: str) -> dict:
    """By heatmap, the mean of `deletion_scores`, and how much sooner it falls than by three controls, with intervals.

    These are random smooth maps, single random pixels, and the same method's map of another face. How soon it falls is
    the mean over the shares.
    """
    scores = functools.partial(deletion_scores, predict, images, targets=targets, fill=fill)
    pixels = np.random.default_rng(0).random(images.shape[:3])
    controls = {"chance": scores(random_heatmaps(images)), "single pixels": scores(pixels)}
    curves = {name: scores(each) for name, each in maps.items()} | controls
    result = {name: {"curve": [round(x, 6) for x in curve.mean(axis=0).tolist()]} for name, curve in curves.items()}
    order = np.random.default_rng(0).permutation(len(images))
    others = np.roll(order, 1)[order.argsort()]  # in a random round, so that no face keeps its own map
    for name, each in maps.items():
        rivals = controls | {"another face": scores(each[others])}
        gains = {rival: np.trapezoid(curve - curves[name], SHARES) / SHARES[-1] for rival, curve in rivals.items()}
        result[name]["sooner_than"] = {rival: mean_with_interval(gain) for rival, gain in gains.items()}
    return result


def region_shares(heatmaps: ArrayLike) -> dict[str, np.ndarray]:
    """Share of each map that lies in each band of the face: a dict from `REGIONS` to `(n,)`.

    Maps that are all 0 count as even ones. Bands end between two rows where their share of the height does.
    """
    rows = np.asarray(heatmaps, float).sum(axis=2)
    rows = np.where(rows.sum(axis=1, keepdims=True) > 0, rows, 1)
    edges = np.linspace(0, 1, rows.shape[1] + 1)
    below = np.pad((rows / rows.sum(axis=1, keepdims=True)).cumsum(axis=1), ((0, 0), (1, 0)))
    ends = {name: np.array([np.interp(band, edges, each) for each in below]) for name, band in REGIONS.items()}
    return {name: np.diff(each.reshape(-1, 2))[:, 0] for name, each in ends.items()}  # also of no maps
