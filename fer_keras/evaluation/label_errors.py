"""Likely label errors by confident learning, and agreement with people who judged the images anew."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fer_keras.data.ferplus import emotion_votes, names_emotion, not_a_face, plurality
from fer_keras.evaluation.intervals import accuracy_with_interval
from fer_keras.evaluation.metrics import check_predictions
from fer_keras.names import import_part

FILTER = "prune_by_noise_rate"  # cleanlab's own choice, made before we looked


class LabelErrors(NamedTuple):
    """What cleanlab finds, a value an image `(n,)`, and over all of them."""

    flagged: np.ndarray  # bool, the likely errors
    likely: np.ndarray  # int, the predicted class
    quality: np.ndarray  # in [0, 1], the lower the less the label is believed
    joint: np.ndarray  # (classes, classes), estimated share of images by given label (rows) and true class; sums to 1


def assign_folds(labels: np.ndarray, digests: np.ndarray, folds: int, *, seed: int) -> np.ndarray:
    """The fold of each image, int `(n,)` from 0: stratified by class, images of equal digest always in one."""
    from sklearn.model_selection import StratifiedKFold

    _, first, duplicates = np.unique(digests, return_index=True, return_inverse=True)
    labels = labels[first]
    least = np.unique(labels, return_counts=True)[1].min()
    if not 2 <= folds <= least:
        expected = f"`folds` must be 2 at least, and {least} at most, one picture of each class"
        raise ValueError(f"{expected}. Received: {folds}.")
    fold, splitter = np.zeros(len(labels), np.int64), StratifiedKFold(folds, shuffle=True, random_state=seed)
    for number, (_, members) in enumerate(splitter.split(labels, labels)):
        fold[members] = number
    return fold[duplicates]


def label_errors(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> LabelErrors:
    """Find labels that are likely wrong, from the predictions of networks that have not seen the images.

    Reference:
        Northcutt, Jiang and Chuang (2021), Confident learning, JAIR 70; https://github.com/cleanlab/cleanlab

    Args:
        labels, probabilities, classes: as for `evaluation.summarise`, the given labels and out-of-fold predictions.
    """
    cleanlab = import_part("cleanlab")
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

    These are `noise` (the estimated share of images whose label is wrong), `flagged` (counts by given label and likely
    class), `joint`, and `per_class`, by name: `images` (that carry the label), `named` (of these predicted so), `said`
    (of all predicted so), `flagged` and `noise`.
    """
    from sklearn.metrics import confusion_matrix

    order, wrong = range(len(classes)), result.flagged
    every = confusion_matrix(labels, result.likely, labels=order)
    flagged = confusion_matrix(labels[wrong], result.likely[wrong], labels=order)
    given = result.joint.sum(axis=1)
    wrong = 1 - np.diag(result.joint) / np.where(given > 0, given, 1)
    columns = {"images": every.sum(1), "named": np.diag(every), "said": every.sum(0), "flagged": flagged.sum(1)}
    per_class = {
        name: {key: int(values[i]) for key, values in columns.items()} | {"noise": round(float(wrong[i]), 6)}
        for i, name in enumerate(classes)
    }
    found = {"noise": round(1 - float(np.trace(result.joint)), 6), "flagged": flagged.tolist()}
    return found | {"joint": result.joint.round(6).tolist(), "per_class": per_class}


def label_crowd_agreement(labels: ArrayLike, predicted: ArrayLike, crowd: ArrayLike) -> dict[str, int]:
    """Count with whom predictions agree, where label and crowd agree and where they do not.

    Args:
        labels, predicted, crowd: str arrays `(n,)`, the labels of the set, the predicted classes, and what most people
            gave; empty where they named no emotion: such images are left out.

    Returns:
        Dict of counts: `agreed` (images on which label and crowd agree) and `right` of these; `disputed` (on which they
        do not), and of these `with_label`, `with_crowd` and `with_neither`.

    Example:

    >>> label_crowd_agreement(["fear", "sad", "sad"], ["sad", "sad", "angry"], ["sad", "sad", ""])
    {'agreed': 1, 'right': 1, 'disputed': 1, 'with_label': 0, 'with_crowd': 1, 'with_neither': 0}
    """
    labels, predicted, crowd = (np.asarray(names, str) for names in (labels, predicted, crowd))
    agreed, disputed = (crowd != "") & (labels == crowd), (crowd != "") & (labels != crowd)
    with_label, with_crowd = predicted == labels, predicted == crowd
    masks = {"agreed": agreed, "right": agreed & with_label, "disputed": disputed}
    masks |= {"with_label": disputed & with_label, "with_crowd": disputed & with_crowd}
    masks["with_neither"] = disputed & ~with_label & ~with_crowd
    return {name: int(mask.sum()) for name, mask in masks.items()}


def crowd_table(errors: LabelErrors, labels: np.ndarray, votes: np.ndarray | None, classes: Sequence) -> dict | None:
    """FER+'s votes on all labels, on those flagged or not, and in cleanlab's order; None if they judge nothing.

    For each group of images: the counts of `label_crowd_agreement` (of the likely classes), `images`, `judged` (people
    named an emotion), and the shares of the judged that are disputed and unsupported (nobody gave the label), and of
    the disputed that are with the crowd. `in_order`: the disputed among the `images` that cleanlab believes least.
    """
    crowd = np.array("") if votes is None else np.where(names_emotion(votes), plurality(votes), "")
    judged = crowd != ""
    if not judged.any():
        return None
    names, no_face, flagged = np.asarray(classes), not_a_face(votes), errors.flagged
    given, likely, support = names[labels], names[errors.likely], emotion_votes(votes, classes)
    unsupported, disputed = support[np.arange(len(labels)), labels] == 0, judged & (crowd != given)

    def judge(group):
        return {
            "images": int(group.sum()),
            "judged": int((group & judged).sum()),
            **label_crowd_agreement(given[group], likely[group], crowd[group]),
            **accuracy_with_interval(disputed[group & judged], True, "disputed_share"),
            **accuracy_with_interval(unsupported[group & judged], True, "unsupported_share"),
            **accuracy_with_interval((likely == crowd)[group & disputed], True, "with_crowd_share"),
        }

    ordered = disputed[judged][np.argsort(errors.quality[judged], kind="stable")]
    counts = np.unique(np.geomspace(min(50, len(ordered)), len(ordered), 40).round().astype(int)).tolist()
    shares = [accuracy_with_interval(ordered[:count], True, "disputed_share") for count in counts]
    return {
        "all": judge(np.ones(len(labels), bool)),
        "flagged": judge(flagged),
        "unflagged": judge(~flagged),
        "per_class": {name: judge(flagged & (given == name)) for name in classes},
        "non_faces": {"images": int(no_face.sum()), "flagged": int((no_face & flagged).sum())},
        "in_order": [{"images": count, **share} for count, share in zip(counts, shares, strict=True)],
    }
