"""Metrics of a classifier, each with its 95 % interval, in plain NumPy: training needs nothing more to record them."""

import numpy as np

from fer_keras.evaluation.intervals import accuracy_with_interval

RESAMPLES = 1000
SMALLEST_PROBABILITY = 1e-7


def summarise(labels, probabilities, classes, *, split, copies=None, views="single"):
    """Return the metrics of one split, as a run's record holds them.

    Accuracy carries Wilson's interval and macro-F1 a bootstrap interval, both at 95 %. With `copies`, the accuracy on
    the images that have no exact copy among the training images stands beside the plain one.

    Args:
        labels: int array `(n,)`, true classes as indices into `classes`.
        probabilities: float array `(n, len(classes))`; rows are normalised to sum to 1.
        classes: class names, in the order of the columns.
        split: str, which split this is: `"train"`, `"validation"` or `"test"`.
        copies: bool array `(n,)`, True where the image is also a training image; None leaves that score out.
        views: str, what was averaged for each image: `"single"`, `"flip"` or `"ten crops"`.

    Returns:
        A dict of plain Python values; fractions in [0, 1], rounded to 6 digits.

    Raises:
        ValueError: if the arrays are empty, do not fit each other or hold values that are no probabilities.

    Example:

    >>> scores = summarise([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], ("sad", "happy"), split="validation")
    >>> scores["accuracy"], scores["confusion"]
    (0.666667, [[1, 0], [1, 1]])
    """
    labels, probabilities = checked(labels, probabilities, classes)
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, len(classes))
    macro_f1 = float(f1_scores(confusion).mean())
    f1_low, f1_high = bootstrap_macro_f1(confusion)
    scores = {
        "split": split,
        "num_images": len(labels),
        "views": views,
        **accuracy_with_interval(labels, predicted, "accuracy"),
        "macro_f1": round(macro_f1, 6),
        "macro_f1_low": round(f1_low, 6),
        "macro_f1_high": round(f1_high, 6),
        "log_loss": round(log_loss(labels, probabilities), 6),
        "per_class": per_class(confusion, classes),
        "confusion": confusion.tolist(),
    }
    if copies is not None:
        copies = np.asarray(copies, bool)
        if copies.shape != labels.shape:
            raise ValueError(
                f"`copies` must be a mask with a value for each of the {len(labels)} labels. "
                f"Received: shape {copies.shape}."
            )
        scores["num_copies"] = int(copies.sum())
        scores |= accuracy_with_interval(labels[~copies], predicted[~copies], "accuracy_without_copies")
    return scores


def confusion_matrix(labels, predicted, num_classes):
    """Return the int array `(num_classes, num_classes)` of counts: a row a true class, a column a predicted one."""
    cells = np.asarray(labels, np.int64) * num_classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def f1_scores(confusion):
    """Return the F1 of each class, `(..., classes)`, from counts `(..., classes, classes)`; 0 for a class never met."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return 2 * hits / np.maximum(confusion.sum(axis=-1) + confusion.sum(axis=-2), 1)


def bootstrap_macro_f1(confusion, *, resamples=RESAMPLES, seed=0):
    """Return the 95 % percentile interval of macro-F1 over resampled images.

    Drawing n images with replacement and counting them is drawing once from a multinomial over the cells of the
    confusion matrix, so no image is touched.

    Reference:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    total = confusion.sum()
    drawn = np.random.default_rng(seed).multinomial(total, confusion.ravel() / total, size=resamples)
    low, high = np.quantile(f1_scores(drawn.reshape(-1, *confusion.shape)).mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def log_loss(labels, probabilities):
    """Return the mean negative logarithm of the true class' probability, which is taken as 1e-7 at least (Keras')."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, SMALLEST_PROBABILITY)).mean())


def per_class(confusion, classes):
    """Return precision, recall, F1 and support of each class; 0 where a class was never predicted or never met."""
    hits, support, found = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    columns = {
        "precision": hits / np.maximum(found, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": f1_scores(confusion),
    }
    return {
        name: {key: round(float(values[index]), 6) for key, values in columns.items()}
        | {"support": int(support[index])}
        for index, name in enumerate(classes)
    }


def checked(labels, probabilities, classes):
    """Return labels as integers and probabilities as normalised float64, or raise a `ValueError`."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if probabilities.shape != (len(labels), len(classes)) or not len(labels):
        raise ValueError(
            f"`probabilities` must have a row for each label and a column for each class of {tuple(classes)}, and one "
            f"row at least. Received: {len(labels)} labels and probabilities of shape {probabilities.shape}."
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(
            f"`labels` must be integers in 0..{len(classes) - 1}. Received: {labels.dtype}, "
            f"from {labels.min()} to {labels.max()}."
        )
    sums = probabilities.sum(axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(probabilities) & (probabilities >= 0)).all(axis=1) | ~(sums[:, 0] > 0))
    if len(bad):
        raise ValueError(
            "Each row of `probabilities` must hold finite values of 0 or more, not all 0. "
            f"Received in row {bad[0]}: {probabilities[bad[0]].tolist()}. Did training diverge?"
        )
    return labels.astype(np.int64), probabilities / sums
