"""How well scores rank one class above the rest: what accuracy cannot say of a rare class."""

import functools

import numpy as np

from fer_keras.evaluation.intervals import Comparison, accuracy_with_interval
from fer_keras.evaluation.metrics import RESAMPLES, checked


def against_rest(labels, probabilities, classes):
    """Return how well each class is told from the rest.

    A class is said to be found where it is more probable than all the others together, so that a network of two classes
    finds what it names. `majority` is the accuracy of saying "not this one" of everything, or "this one" if it is the
    commoner: for a rare class accuracy hardly rises above it, while balanced accuracy and the area under the ROC curve
    then stay at .5, and average precision at the class's share.

    Args:
        labels: int array `(n,)`, true classes.
        probabilities: float array `(n, len(classes))`; rows are normalised to sum to 1.
        classes: class names, in the order of the columns.

    Returns:
        Dict by class of dicts with `share` (of images that are of the class), `majority`, `accuracy` with its 95 %
        interval, `balanced_accuracy`, `average_precision` and `roc_auc`, all in [0, 1]; a class without images, or
        with nothing else, is left out.

    Raises:
        ValueError: if the arrays are empty, do not fit each other or hold values that are no probabilities.
    """
    from sklearn import metrics

    labels, probabilities = checked(labels, probabilities, classes)
    found = {}
    for index, name in enumerate(classes):
        truth, scores = labels == index, probabilities[:, index]
        if not 0 < truth.sum() < len(truth):
            continue
        said = scores > 0.5
        values = {
            "share": truth.mean(),
            "majority": max(truth.mean(), 1 - truth.mean()),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
            "average_precision": metrics.average_precision_score(truth, scores),
            "roc_auc": metrics.roc_auc_score(truth, scores),
        }
        rounded = {key: round(float(value), 6) for key, value in values.items()}
        found[name] = rounded | accuracy_with_interval(truth, said, "accuracy")
    return found


def compare_precision(truth, first, second, *, resamples=RESAMPLES, seed=0):
    """Compare how two scores rank one class above the rest on the same images, as a pair, by average precision.

    The 95 % interval is that of the difference over resampled images, the same ones for both.

    Reference:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.

    Args:
        truth: bool array `(n,)`, which images are of the class; one at least.
        first: float array `(n,)`, scores of the one, higher for images that are rather of the class.
        second: float array `(n,)`, scores of the other.
        resamples: int.
        seed: int, draws the images.

    Returns:
        A `Comparison`, second minus first.

    Example:

    >>> right, wrong = [0.9, 0.8, 0.1, 0.1], [0.1, 0.1, 0.9, 0.8]
    >>> compare_precision([True, True, False, False], wrong, right).difference
    0.5
    """
    truth = np.asarray(truth, bool)
    times = resampled(len(truth), resamples, seed)
    gains = average_precisions(truth, second, times) - average_precisions(truth, first, times)
    low, high = np.quantile(gains[1:], (0.025, 0.975))
    return Comparison(*map(float, (gains[0], low, high)))


@functools.lru_cache(maxsize=1)  # the classes of one test split are compared one after the other
def resampled(total, resamples, seed):
    """Return how often each image counts, `(1 + resamples, total)`: once each, then as drawn with replacement."""
    drawn = np.random.default_rng(seed).multinomial(total, np.full(total, 1 / total), size=resamples)
    return np.concatenate([np.ones((1, total)), drawn]).astype(np.float32)


def average_precisions(truth, scores, times):
    """Return the average precision of each way to count the images: `(ways,)` from counts `(ways, n)`.

    It is the mean, over the images of the class, of the share of the class among all that score as high or higher.
    """
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    falling, times, hit = -np.asarray(scores, float)[order], times[:, order], np.flatnonzero(truth[order])
    # Equal scores come together: the precision at the last of them is that of all.
    last = np.searchsorted(falling, falling[hit], side="right") - 1
    found, met = times[:, hit], (times * truth[order]).cumsum(axis=1)[:, last]
    precision = met / np.maximum(times.cumsum(axis=1)[:, last], 1)
    return (found * precision).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
