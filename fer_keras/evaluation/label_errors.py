"""Likely label errors by confident learning, and agreement with people who judged the images anew."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fer_keras.data.ferplus import emotion_votes, names_emotion, not_a_face, plurality
from fer_keras.evaluation.intervals import accuracy_with_interval
from fer_keras.evaluation.metrics import check_predictions

FILTER = "prune_by_noise_rate"  # cleanlab's own choice, made before we looked
NUM_POINTS = 40  # of the curve over the images in cleanlab's order
FIRST_POINT = 50  # images


class LabelErrors(NamedTuple):
    """What cleanlab finds, a value an image `(n,)`, and over all of them.

    `flagged` (bool) are the likely errors; `likely` (int) is the predicted class; `quality` in [0, 1] is the lower the
    less the label is believed; `joint` `(classes, classes)` is the estimated share of images by given label (rows) and
    true class (columns), summing to 1.
    """

    flagged: np.ndarray
    likely: np.ndarray
    quality: np.ndarray
    joint: np.ndarray

    @property
    def noise(self) -> float:
        """The estimated share of images in [0, 1] whose label is wrong."""
        return 1 - float(np.trace(self.joint))


def import_cleanlab():
    """Import cleanlab, or raise an `ImportError` that says how to install it."""
    try:
        import cleanlab.count
        import cleanlab.filter
        import cleanlab.rank
    except ImportError as error:
        raise ImportError("Finding label errors needs cleanlab. Install it: pip install 'fer_keras[labels]'") from error
    return cleanlab


def assign_folds(labels: np.ndarray, digests: np.ndarray, folds: int, *, seed: int) -> np.ndarray:
    """The fold of each image, int `(n,)` from 0: stratified by class, images of equal digest always in one."""
    from sklearn.model_selection import StratifiedKFold

    _, first, duplicates = np.unique(digests, return_index=True, return_inverse=True)
    labels = labels[first]
    least = np.unique(labels, return_counts=True)[1].min()
    if not 2 <= folds <= least:
        raise ValueError(
            f"`folds` must be 2 at least, and {least} at most, one picture of each class. Received: {folds}."
        )
    fold, splitter = np.zeros(len(labels), np.int64), StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, members) in enumerate(splitter.split(labels, labels)):
        fold[members] = number
    return fold[duplicates]


def label_errors(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> LabelErrors:
    """Find labels that are likely wrong, from the predictions of networks that have not seen the images.

    Reference:
        Northcutt, Jiang and Chuang (2021), Confident learning: estimating uncertainty in dataset labels, JAIR 70;
        https://github.com/cleanlab/cleanlab

    Args:
        labels: int array `(n,)`, the given labels.
        probabilities: float array `(n, len(classes))`, out-of-fold predictions.
        classes: class names, in the order of the columns.

    Raises:
        ValueError: if the arrays do not fit each other, or a class has no image.
        ImportError: if cleanlab is not installed.
    """
    cleanlab = import_cleanlab()
    labels, probabilities = check_predictions(labels, probabilities, classes)
    empty = [name for index, name in enumerate(classes) if index not in labels]
    if empty:
        raise ValueError(f"Every class must have images. Received: none of {empty[0]!r}. Leave the class out.")
    joint = cleanlab.count.compute_confident_joint(labels, probabilities)
    # One process: others would be forked from one in which a backend's threads run.
    options = {"confident_joint": joint, "filter_by": FILTER, "n_jobs": 1}
    flagged = cleanlab.filter.find_label_issues(labels, probabilities, **options)
    quality = cleanlab.rank.get_label_quality_scores(labels, probabilities)
    return LabelErrors(flagged, probabilities.argmax(axis=1), quality, joint / joint.sum())


def by_class(result: LabelErrors, labels: np.ndarray, classes: Sequence[str]) -> dict:
    """Count label errors by class, as plain values.

    Returns:
        Dict of `noise`, `flagged` (counts by given label and likely class), `joint`, and `per_class`, a dict by name of
        `images` (that carry the label), `named` (of these predicted so), `said` (of all predicted so), `flagged`, and
        `noise`, the estimated share of its labels that are wrong.
    """
    from sklearn.metrics import confusion_matrix

    order = range(len(classes))
    flagged = confusion_matrix(labels[result.flagged], result.likely[result.flagged], labels=order)
    given = result.joint.sum(axis=1)
    wrong = 1 - np.diag(result.joint) / np.where(given > 0, given, 1)
    every = confusion_matrix(labels, result.likely, labels=order)
    columns = {"images": every.sum(1), "named": np.diag(every), "said": every.sum(0), "flagged": flagged.sum(1)}
    return {
        "noise": round(result.noise, 6),
        "flagged": flagged.tolist(),
        "joint": result.joint.round(6).tolist(),
        "per_class": {
            name: {key: int(values[i]) for key, values in columns.items()} | {"noise": round(float(wrong[i]), 6)}
            for i, name in enumerate(classes)
        },
    }


def label_crowd_agreement(labels: ArrayLike, predicted: ArrayLike, crowd: ArrayLike) -> dict[str, int]:
    """Count with whom predictions agree, where label and crowd agree and where they do not.

    Args:
        labels, predicted, crowd: str arrays `(n,)`, the labels of the set, the predicted classes, and what most people
            said; empty where they named no emotion: such images are left out.

    Returns:
        Dict of counts: `agreed` (images on which label and crowd agree) and `right` of these; `disputed` (on which they
        do not), and of these `with_label`, `with_crowd` and `with_neither`.

    Example:

    >>> label_crowd_agreement(["fear", "sad", "sad"], ["sad", "sad", "angry"], ["sad", "sad", ""])
    {'agreed': 1, 'right': 1, 'disputed': 1, 'with_label': 0, 'with_crowd': 1, 'with_neither': 0}
    """
    labels, predicted, crowd = (np.asarray(names, str) for names in (labels, predicted, crowd))
    agreed, disputed = (crowd != "") & (labels == crowd), (crowd != "") & (labels != crowd)
    masks = {
        "agreed": agreed,
        "right": agreed & (predicted == labels),
        "disputed": disputed,
        "with_label": disputed & (predicted == labels),
        "with_crowd": disputed & (predicted == crowd),
        "with_neither": disputed & (predicted != labels) & (predicted != crowd),
    }
    return {name: int(mask.sum()) for name, mask in masks.items()}


def against_crowd(labels: ArrayLike, likely: ArrayLike, crowd: ArrayLike, support: ArrayLike) -> dict:
    """Compare some images' labels, and the classes that cleanlab finds likely, with what people say.

    Args:
        labels, likely, crowd: str arrays `(n,)`, the given labels, what cleanlab finds instead, and what most people
            said; empty where they named no emotion: such images are not judged.
        support: array `(n,)`, how many people gave the label.

    Returns:
        Dict of the counts of `label_crowd_agreement` (of `likely`), `images`, `judged`, and with 95 % intervals the
        `disputed_share` of the judged, the `unsupported_share` of the judged (nobody gave the label) and the
        `with_crowd_share` of the disputed.

    Example:

    >>> shares = against_crowd(["fear", "sad", "sad"], ["sad", "fear", "fear"], ["sad", "sad", ""], [0, 8, 1])
    >>> shares["judged"], shares["disputed_share"], shares["unsupported_share"], shares["with_crowd_share"]
    (2, 0.5, 0.5, 1.0)
    """
    labels, likely, crowd, support = (np.asarray(values) for values in (labels, likely, crowd, support))
    judged, disputed = crowd != "", (crowd != "") & (crowd != labels)
    return {
        "images": len(labels),
        "judged": int(judged.sum()),
        **label_crowd_agreement(labels, likely, crowd),
        **share_of(disputed[judged], "disputed_share"),
        **share_of(support[judged] == 0, "unsupported_share"),
        **share_of(likely[disputed] == crowd[disputed], "with_crowd_share"),
    }


def crowd_table(
    errors: LabelErrors, labels: np.ndarray, votes: np.ndarray | None, classes: Sequence[str]
) -> dict | None:
    """FER+'s votes on all labels, on those flagged or not, in cleanlab's order; None if they judge nothing."""
    names, numbers = np.asarray(classes), labels
    crowd = np.array("") if votes is None else np.where(names_emotion(votes), plurality(votes), "")
    judged, labels = crowd != "", names[labels]
    if not judged.any():
        return None
    support = emotion_votes(votes, classes)[np.arange(len(labels)), numbers]
    images = np.array([labels, names[errors.likely], crowd])
    no_face, flagged = not_a_face(votes), errors.flagged

    def judge(mask):
        return against_crowd(*images[:, mask], support[mask])

    return {
        "all": judge(slice(None)),
        "flagged": judge(flagged),
        "unflagged": judge(~flagged),
        "per_class": {name: judge(flagged & (labels == name)) for name in classes},
        "non_faces": {"images": int(no_face.sum()), "flagged": int((no_face & flagged).sum())},
        "in_order": in_order(errors.quality[judged], (crowd != labels)[judged]),
    }


def in_order(quality: ArrayLike, disputed: ArrayLike) -> list[dict]:
    """Share of disputed labels, with its 95 % interval, among the `images` that cleanlab believes least, more and more.

    `quality` is that of `LabelErrors`, `disputed` a mask of what people dispute, both `(n,)`.
    """
    disputed = np.asarray(disputed)[np.argsort(quality, kind="stable")]
    counts = np.unique(np.geomspace(min(FIRST_POINT, len(disputed)), len(disputed), NUM_POINTS).round().astype(int))
    return [{"images": int(count), **share_of(disputed[:count], "disputed_share")} for count in counts if count]


def share_of(mask, name):
    """`{name, name_low, name_high}`: the share of a mask that is true, with its interval; None if empty."""
    return accuracy_with_interval(np.asarray(mask, bool), np.ones(len(mask), bool), name)
