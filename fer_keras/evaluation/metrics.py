"""Metrics of a classifier, each with its 95 % interval, and how well it ranks one class above the rest."""

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fer_keras.evaluation.intervals import RESAMPLES, Z95, Comparison, accuracy_with_interval
from fer_keras.labels import check_classes

SMALLEST = 1e-7  # probability, before a logarithm is taken: Keras' epsilon


def summarise(
    labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str], *, split: str,
    copies: ArrayLike | None = None, views: str = "single",
) -> dict:  # fmt: skip
    """Compute the metrics of one split with 95 % intervals, as a run's record holds them: plain values.

    Args:
        labels, probabilities: int array `(n,)`, true classes; and float array `(n, len(classes))`, rows are normalised.
        classes: class names, in the order of the columns.
        split: `"train"`, `"validation"` or `"test"`.
        copies: bool array `(n,)`, True where the image is also a training image: adds the accuracy without these.
        views: what was averaged for each image: `"single"`, `"flip"` or `"ten crops"`.

    Raises:
        ValueError: if the arrays are empty, do not fit each other or hold values that are no probabilities.

    Example:

    >>> scores = summarise([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], ("sad", "happy"), split="validation")
    >>> scores["accuracy"], scores["confusion"]
    (0.666667, [[1, 0], [1, 1]])
    """
    from sklearn import metrics  # here, since recognising a face needs none of it

    labels, probabilities = check_predictions(labels, probabilities, classes)
    predicted, order = probabilities.argmax(axis=1), range(len(classes))
    confusion = metrics.confusion_matrix(labels, predicted, labels=order)
    columns = metrics.precision_recall_fscore_support(labels, predicted, labels=order, zero_division=0)
    low, high = bootstrap_macro_f1(confusion)
    scores = {"split": split, "num_images": len(labels), "views": views}
    scores |= accuracy_with_interval(labels, predicted, "accuracy")
    scores |= rounded({"macro_f1": columns[2].mean(), "macro_f1_low": low, "macro_f1_high": high})
    scores |= {"log_loss": round(log_loss(labels, probabilities), 6), "per_class": {}, "confusion": confusion.tolist()}
    for name, precision, recall, f1, support in zip(classes, *columns, strict=True):
        values = rounded({"precision": precision, "recall": recall, "f1": f1})
        scores["per_class"][name] = values | {"support": int(support)}
    if copies is not None:
        copies = np.asarray(copies, bool)
        if copies.shape != labels.shape:
            expected = f"`copies` must be a mask with a value for each of the {len(labels)} labels"
            raise ValueError(f"{expected}. Received: shape {copies.shape}. Pass the mask of this split.")
        scores["num_copies"] = int(copies.sum())
        scores |= accuracy_with_interval(labels[~copies], predicted[~copies], "accuracy_without_copies")
    return scores


def rounded(values):
    """A dict's values as floats, rounded to 6 digits."""
    return {name: round(float(value), 6) for name, value in values.items()}


def bootstrap_macro_f1(confusion):
    """95 % percentile interval of macro-F1 over resampled images: a multinomial over the confusion matrix's cells."""
    total = confusion.sum()
    drawn = np.random.default_rng(0).multinomial(total, confusion.ravel() / total, size=RESAMPLES)
    drawn = drawn.reshape(-1, *confusion.shape)
    f1 = 2 * np.diagonal(drawn, axis1=1, axis2=2) / np.maximum(drawn.sum(axis=1) + drawn.sum(axis=2), 1)
    return np.quantile(f1.mean(axis=1), (0.025, 0.975))


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative logarithm of the true class' probability, which is taken as 1e-7 at least, as Keras does."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], SMALLEST)).mean())


def one_vs_rest(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> dict[str, dict]:
    """Score how well each class is distinguished from the rest; arguments and errors as for `summarise`.

    A class counts as predicted where it is more probable than all the others together. `majority` is the accuracy of
    the same answer for every image: for a rare class accuracy hardly rises above it, while balanced accuracy and the
    area under the ROC curve then stay at .5, and average precision at the class's share.

    Returns:
        Dict by class of dicts with `share` (of images that are of the class), `majority`, `accuracy` with its 95 %
        interval, `balanced_accuracy`, `average_precision` and `roc_auc`; a class of no image or of all is left out.
    """
    from sklearn import metrics

    labels, probabilities = check_predictions(labels, probabilities, classes)
    result = {}
    for index, name in enumerate(classes):
        truth, scores = labels == index, probabilities[:, index]
        if not 0 < truth.sum() < len(truth):
            continue
        values = {"share": truth.mean(), "majority": max(truth.mean(), 1 - truth.mean())}
        values["balanced_accuracy"] = metrics.balanced_accuracy_score(truth, scores > 0.5)
        values["average_precision"] = metrics.average_precision_score(truth, scores)
        values["roc_auc"] = metrics.roc_auc_score(truth, scores)
        result[name] = rounded(values) | accuracy_with_interval(truth, scores > 0.5, "accuracy")
    return result


def compare(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Comparison:
    """Compare two classifiers on the same images, as a pair: only those that one gets right and the other wrong count.

    Reference:
        Bonett and Price (2012), Journal of Educational and Behavioral Statistics 37.

    Args:
        labels, first, second: int array `(n,)`, true classes; float arrays `(n, classes)`, the probabilities of both.
    """
    if np.shape(first) != np.shape(second):
        received = f"predictions of shape {np.shape(first)} and {np.shape(second)}. Predict on one split"
        raise ValueError(f"Two classifiers can be compared on the same images and classes only. Received: {received}.")
    (labels, first), (_, second) = (check_predictions(labels, each) for each in (first, second))
    right, right_second = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    total, gained, lost = len(labels), int((right_second & ~right).sum()), int((right & ~right_second).sum())
    gain, loss = (gained + 1) / (total + 2), (lost + 1) / (total + 2)
    half = Z95 * math.sqrt((gain + loss - (gain - loss) ** 2) / (total + 2))
    return Comparison((gained - lost) / total, max(-1.0, gain - loss - half), min(1.0, gain - loss + half))


def compare_precision(truth: ArrayLike, first: ArrayLike, second: ArrayLike) -> Comparison:
    """Compare how two scores rank one class above the rest, as a pair: average precision over resampled images.

    Args:
        truth, first, second: bool array `(n,)`, which images are of the class, one at least; float arrays `(n,)`, the
            scores, higher for images that are rather of the class.

    Example:

    >>> right, wrong = [0.9, 0.8, 0.1, 0.1], [0.1, 0.1, 0.9, 0.8]
    >>> compare_precision([True, True, False, False], wrong, right).difference
    0.5
    """
    truth, first, second = (np.asarray(each, kind) for each, kind in ((truth, bool), (first, float), (second, float)))
    if not (truth.shape == first.shape == second.shape and truth.any() and np.isfinite([first, second]).all()):
        received = f"{truth.sum()} of {truth.shape}, scores of {first.shape} and {second.shape}"
        raise ValueError(f"Expected an image of the class, and two finite scores of each image. Received: {received}.")
    times = resample_counts(len(truth))
    gains = average_precisions(truth, second, times) - average_precisions(truth, first, times)
    return Comparison(*map(float, (gains[0], *np.quantile(gains[1:], (0.025, 0.975)))))


@functools.lru_cache(maxsize=1)  # the classes of one test split are compared one after the other
def resample_counts(total):
    """How often each image counts, `(1 + RESAMPLES, total)`: once, then as drawn with replacement."""
    drawn = np.random.default_rng(0).multinomial(total, np.full(total, 1 / total), size=RESAMPLES)
    return np.concatenate([np.ones((1, total)), drawn]).astype(np.float32)


def average_precisions(truth, scores, times):
    """Average precision, `(ways,)`, for each way to count the images, `(ways, n)`."""
    falling = -scores
    order = np.argsort(falling, kind="stable")
    falling, times, hits = falling[order], times[:, order], np.flatnonzero(truth[order])
    # Equal scores come together: the precision at the last of them is that of all.
    last = np.searchsorted(falling, falling[hits], side="right") - 1
    counts, met = times[:, hits], (times * truth[order]).cumsum(axis=1)[:, last]
    precision = met / np.maximum(times.cumsum(axis=1)[:, last], 1)
    return (counts * precision).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)


def check_predictions(labels, probabilities, classes=None):
    """Convert labels to integers and probabilities to normalised float64, or raise a `ValueError`."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    classes = range((0, *probabilities.shape)[-1]) if classes is None else check_classes(classes, least=1)
    known = labels.size and np.issubdtype(labels.dtype, np.integer) and np.isin(labels, range(len(classes))).all()
    if labels.ndim != 1 or probabilities.shape != (len(labels), len(classes)) or not known:
        raise ValueError(
            f"`labels` must be integers in 0..{len(classes) - 1}, one at least, `probabilities` have a row for each "
            f"and a column for each class of {tuple(classes)}. Received: labels of {labels.dtype}, "
            f"{labels.ravel()[:5].tolist()}, and shapes {labels.shape} and {probabilities.shape}. Pass one split's."
        )
    sums = probabilities.sum(axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(probabilities) & (probabilities >= 0)).all(axis=1) | ~(sums[:, 0] > 0))
    if len(bad):
        expected = "Each row of `probabilities` must hold finite values of 0 or more, not all 0"
        received = f"Received in row {bad[0]}: {probabilities[bad[0]].tolist()}"
        raise ValueError(f"{expected}. {received}. Did training diverge?")
    return labels.astype(np.int64), probabilities / sums
