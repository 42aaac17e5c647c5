"""How well scores rank one class above the rest: what accuracy cannot say of a rare class."""

import numpy as np

COLUMNS = ("accuracy", "majority", "balanced_accuracy", "average_precision", "roc_auc")


def against_rest(labels, probabilities, classes):
    """Return how well each class is told from the rest.

    A class is said to be found where its probability is at least one half. `majority` is the accuracy of saying "not
    this one" of everything, or "this one" if it is the commoner: for a rare class accuracy hardly rises above it, while
    balanced accuracy and the area under the ROC curve then stay at .5, and average precision at the class's share.

    Args:
        labels: int array `(n,)`, true classes.
        probabilities: float array `(n, len(classes))`.
        classes: class names, in the order of the columns.

    Returns:
        Dict by class of dicts with the keys `COLUMNS` and `share` (of images that are of the class), in [0, 1];
        a class without images, or with nothing else, is left out.
    """
    from sklearn import metrics

    found = {}
    for index, name in enumerate(classes):
        truth, scores = np.asarray(labels) == index, np.asarray(probabilities)[:, index]
        if not 0 < truth.sum() < len(truth):
            continue
        said = scores >= 0.5
        values = {
            "share": truth.mean(),
            "accuracy": (said == truth).mean(),
            "majority": max(truth.mean(), 1 - truth.mean()),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
            "average_precision": metrics.average_precision_score(truth, scores),
            "roc_auc": metrics.roc_auc_score(truth, scores),
        }
        found[name] = {key: round(float(value), 6) for key, value in values.items()}
    return found
