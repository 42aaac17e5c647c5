"""Which labels are likely wrong, by confident learning, and what people who judged the images anew say of that."""

from typing import NamedTuple

import numpy as np

from fer_keras.evaluation.agreement import sides
from fer_keras.evaluation.intervals import accuracy_with_interval
from fer_keras.evaluation.metrics import checked, confusion_matrix

FILTER = "prune_by_noise_rate"  # cleanlab's own choice, made before we looked
NUM_POINTS = 40  # of the curve over the images in cleanlab's order
FIRST_POINT = 50  # images


class LabelErrors(NamedTuple):
    """What cleanlab finds, a value an image `(n,)`, and over all of them.

    `flagged` (bool) are the likely errors; `likely` (int) is the class that the network says; `quality` in [0, 1] is
    the lower the less the label is believed; `joint` `(classes, classes)` is the estimated share of images by given
    label (rows) and true class (columns), summing to 1.
    """

    flagged: np.ndarray
    likely: np.ndarray
    quality: np.ndarray
    joint: np.ndarray

    @property
    def noise(self):
        """The estimated share of images in [0, 1] whose label is wrong."""
        return 1 - float(np.trace(self.joint))


def import_cleanlab():
    """Return cleanlab; it is imported only when asked for.

    Raises:
        ImportError: if it is not installed; the message says how to.
    """
    try:
        import cleanlab.count
        import cleanlab.filter
        import cleanlab.rank
    except ImportError as error:
        raise ImportError("Finding label errors needs cleanlab. Install it: pip install 'fer_keras[labels]'") from error
    return cleanlab


def label_errors(labels, probabilities, classes):
    """Return which labels are likely wrong, from what networks say that have not seen the images.

    Reference:
        Northcutt, Jiang and Chuang (2021), Confident learning: estimating uncertainty in dataset labels, JAIR 70;
        https://github.com/cleanlab/cleanlab

    Args:
        labels: int array `(n,)`, the given labels.
        probabilities: float array `(n, len(classes))`, out-of-fold: see `training.folds.out_of_fold`.
        classes: class names, in the order of the columns.

    Returns:
        A `LabelErrors`.

    Raises:
        ValueError: if the arrays do not fit each other, or a class has no image.
        ImportError: if cleanlab is not installed.
    """
    cleanlab = import_cleanlab()
    labels, probabilities = checked(labels, probabilities, classes)
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        empty = classes[int(counts.argmin())]
        raise ValueError(f"Label errors are looked for in classes with images. Received: none of {empty!r}.")
    joint = cleanlab.count.compute_confident_joint(labels, probabilities)
    # One process: others would be forked from one in which a backend's threads run.
    options = {"confident_joint": joint, "filter_by": FILTER, "n_jobs": 1}
    flagged = cleanlab.filter.find_label_issues(labels, probabilities, **options)
    quality = cleanlab.rank.get_label_quality_scores(labels, probabilities)
    return LabelErrors(flagged, probabilities.argmax(axis=1), quality, joint / joint.sum())


def by_class(found, labels, classes):
    """Return what `LabelErrors` hold of each class, as plain values.

    Returns:
        `{"noise": share, "flagged": counts by given label and likely class, "joint": shares by given label and true
        class, "per_class": {name: {"images", "named", "said", "flagged", "noise"}}}`: of a class, how many images carry
        its label, how many of these the networks name so, of how many of all they say it, and the estimated share of
        its labels that are wrong.
    """
    flagged = confusion_matrix(labels[found.flagged], found.likely[found.flagged], len(classes))
    given = found.joint.sum(axis=1)
    wrong = 1 - np.diag(found.joint) / np.where(given > 0, given, 1)
    said = confusion_matrix(labels, found.likely, len(classes))
    columns = {"images": said.sum(axis=1), "named": np.diag(said), "said": said.sum(axis=0), "flagged": flagged.sum(1)}
    return {
        "noise": round(found.noise, 6),
        "flagged": flagged.tolist(),
        "joint": found.joint.round(6).tolist(),
        "per_class": {
            name: {key: int(values[i]) for key, values in columns.items()} | {"noise": round(float(wrong[i]), 6)}
            for i, name in enumerate(classes)
        },
    }


def against_crowd(labels, likely, crowd, support):
    """Return what people say of some images' labels, and of what cleanlab takes for their class.

    Args:
        labels: str array `(n,)`, the given labels.
        likely: str array `(n,)`, what cleanlab says instead.
        crowd: str array `(n,)`, what most people said; empty where they named no emotion: such images are not judged.
        support: array `(n,)`, how many people gave the label.

    Returns:
        Dict of the counts of `sides` (which takes cleanlab's word for a network's), `images`, `judged`, and shares with
        their 95 % intervals: `disputed_share` of the judged (most people say another emotion), `unsupported_share` of
        the judged (nobody gave the label) and `with_crowd_share` of the disputed (people say what cleanlab says).

    Example:

    >>> found = against_crowd(["fear", "sad", "sad"], ["sad", "fear", "fear"], ["sad", "sad", ""], [0, 8, 1])
    >>> found["judged"], found["disputed_share"], found["unsupported_share"], found["with_crowd_share"]
    (2, 0.5, 0.5, 1.0)
    """
    labels, likely, crowd, support = (np.asarray(values) for values in (labels, likely, crowd, support))
    judged = crowd != ""
    disputed = judged & (crowd != labels)
    return {
        "images": len(labels),
        "judged": int(judged.sum()),
        **sides(labels, likely, crowd),
        **share_of(labels[judged] != crowd[judged], "disputed_share"),
        **share_of(support[judged] == 0, "unsupported_share"),
        **share_of(likely[disputed] == crowd[disputed], "with_crowd_share"),
    }


def in_order(quality, disputed):
    """Return how many labels people dispute among those that cleanlab believes least, for more and more of these.

    Args:
        quality: float array `(n,)`, as in `LabelErrors`.
        disputed: bool array `(n,)`, where people say something else.

    Returns:
        A list of dicts: `images` (how many are taken), `disputed_share` and its 95 % interval.
    """
    disputed = np.asarray(disputed)[np.argsort(quality, kind="stable")]
    points = np.geomspace(min(FIRST_POINT, len(disputed)), len(disputed), NUM_POINTS).round().astype(int)
    return [
        {"images": int(count), **share_of(disputed[:count], "disputed_share")} for count in np.unique(points) if count
    ]


def share_of(mask, name):
    """Return `{name, name_low, name_high}`: the share of a mask that is true, with its interval; None if empty."""
    return accuracy_with_interval(np.asarray(mask, bool), np.ones(len(mask), bool), name)
