"""Occlusion: a patch slides over a face, and the odds of a class fall where it covers what speaks for it."""

import numpy as np

PATCHES = 6  # that fit side by side; each is half its side further than the one before
BATCH = 128  # always as many at once, so that one shape is compiled
LEAST_SHARE = 1e-30  # of probability, before a logarithm is taken


def occlusion(predict, images, targets):
    """Return how far the odds of a class fall, as a logarithm, where a patch of the picture's mean grey covers it.

    Reference:
        Zeiler and Fergus (2014), Visualizing and Understanding Convolutional Networks, arXiv:1311.2901, section 4.2.

    Args:
        predict: function from float32 pictures `(BATCH, height, width, 1)` to probabilities `(BATCH, classes)`.
        images: float32 `(n, height, width, 1)`, values in [0, 255].
        targets: int `(n,)`, the class of each.

    Returns:
        float32 `(n, height, width)`: at each pixel the mean fall over the patches that cover it, 0 where the odds rise.
    """
    boxes = patches(images.shape[1:3])
    maps, covered = np.zeros(images.shape[:3], np.float32), np.zeros(images.shape[1:3], np.float32)
    for box in boxes:
        covered[box] += 1
    whole, pairs = log_odds(in_batches(predict, images, len(images)), targets), len(images) * len(boxes)
    numbers, places = np.divmod(np.arange(pairs), len(boxes))
    for start in range(0, pairs, BATCH):
        chosen, at = numbers[start : start + BATCH], places[start : start + BATCH]
        shown = images[chosen]
        for one, place in zip(shown, at, strict=True):
            one[boxes[place]] = one.mean()
        falls = whole[chosen] - log_odds(in_batches(predict, shown, len(shown)), targets[chosen])
        for number, place, fall in zip(chosen, at, falls, strict=True):
            maps[number][boxes[place]] += fall
    return np.maximum(maps / covered, 0)


def patches(size):
    """Return the places of the patches on pictures of a size, as pairs of slices; together they cover all of it."""
    sides = [max(1, round(side / PATCHES)) for side in size]
    starts = [
        np.unique([*range(0, whole - side, max(1, side // 2)), whole - side])
        for whole, side in zip(size, sides, strict=True)
    ]
    return [
        (slice(top, top + sides[0]), slice(left, left + sides[1]))
        for top in starts[0].tolist()
        for left in starts[1].tolist()
    ]


def in_batches(predict, images, count):
    """Return the probabilities of the first `count` images, asked in batches that are filled up to one size."""
    parts = [images[start : start + BATCH] for start in range(0, count, BATCH)]
    filled = (np.concatenate([part, part[-1:].repeat(BATCH - len(part), axis=0)]) for part in parts)
    return np.concatenate([np.asarray(predict(part)) for part in filled])[:count]


def log_odds(probabilities, targets):
    """Return the logarithm of a class' probability over that of all others, `(n,)`: it goes on where 1 is reached.

    Example:

    >>> log_odds(np.array([[0.5, 0.25, 0.25]]), np.array([0]))
    array([0.])
    """
    chosen = np.arange(probabilities.shape[-1]) == np.asarray(targets)[:, None]
    own, others = (np.where(mask, probabilities, 0).sum(axis=1) for mask in (chosen, ~chosen))
    return np.log(np.maximum(own, LEAST_SHARE)) - np.log(np.maximum(others, LEAST_SHARE))
