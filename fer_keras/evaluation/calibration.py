"""Calibration of confidences: temperature scaling, reliability diagrams, expected calibration error."""

import numpy as np
from numpy.typing import ArrayLike

from fer_keras.data.dataset import check_integer
from fer_keras.evaluation.intervals import wilson
from fer_keras.evaluation.metrics import SMALLEST, check_predictions


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Fit the temperature, in [0.05, 20], that makes probabilities most likely: above 1 if they were too sure.

    Reference:
        Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, arXiv:1706.04599, section 4.2.

    Args:
        labels: int array `(n,)`, true classes. Take validation's: what is reported on test must not be fitted there.
        probabilities: float array `(n, classes)`; rows are normalised to sum to 1.
    """
    labels, probabilities = check_predictions(labels, probabilities)
    logits = np.log(probabilities.clip(SMALLEST))
    chosen = logits[np.arange(len(labels)), labels].mean()
    low, high = 1 / 20, 20.0  # of 1 / T, in which the mean log loss of softmax(log(p) / T) is convex
    for _ in range(60):
        middle = (low + high) / 2
        expected = (softmax(middle * logits) * logits).sum(axis=1).mean()
        low, high = (low, middle) if expected > chosen else (middle, high)
    return float(2 / (low + high))


def with_temperature(probabilities: ArrayLike, temperature: float) -> np.ndarray:
    """Apply a temperature to probabilities `(n, classes)`: 1 changes nothing, more makes them flatter; never 0 or less.

    Example:

    >>> with_temperature([[0.8, 0.2]], 2.0).round(3)
    array([[0.667, 0.333]])
    """
    if not temperature > 0:
        raise ValueError(f"`temperature` must be above 0. Received: {temperature}. Pass 1 to change nothing.")
    return softmax(np.log(np.asarray(probabilities, float).clip(SMALLEST)) / temperature)


def reliability(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 15) -> list[dict]:
    """Accuracy of the predictions of each confidence, as a reliability diagram shows it.

    Args:
        labels, probabilities, bins: as for `fit_temperature`, and into how many equal parts [0, 1] is cut.

    Returns:
        A list of dicts, one for each part that holds predictions: `confidence` (their mean), `accuracy` with Wilson's
        95 % interval `accuracy_low` and `accuracy_high`, and `num_images`.
    """
    labels, probabilities = check_predictions(labels, probabilities)
    check_integer("bins", bins, 1)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for part in np.unique(place):
        inside = place == part
        low, high = wilson(int(right[inside].sum()), int(inside.sum()))
        row = {"confidence": float(confidence[inside].mean()), "accuracy": float(right[inside].mean())}
        rows.append(row | {"accuracy_low": low, "accuracy_high": high, "num_images": int(inside.sum())})
    return rows


def calibration_error(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015) in [0, 1]: how far confidence is from accuracy, on average.

    Example:

    >>> calibration_error([0, 0, 0, 1], [[0.75, 0.25]] * 4)
    0.0
    """
    rows = reliability(labels, probabilities, bins=bins)
    gaps = [abs(row["accuracy"] - row["confidence"]) for row in rows]
    return float(np.average(gaps, weights=[row["num_images"] for row in rows]))


def softmax(logits):
    """Softmax of `(n, classes)` logits."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
