"""What the ten FER+ votes a face say.

Reference: Barsoum, Zhang, Canton Ferrer and Zhang, "Training deep networks for facial expression recognition with
crowd-sourced label distribution", ICMI 2016.
"""

import numpy as np

from fer_keras.data.faces import refuse_unknown
from fer_keras.labels import FERPLUS_TO_CLASS, FERPLUS_VOTES

EMOTIONS = tuple(FERPLUS_TO_CLASS[name] for name in FERPLUS_VOTES if name in FERPLUS_TO_CLASS)
NOT_A_FACE = FERPLUS_VOTES.index("NF")


def soft_targets(votes, classes):
    """Return the votes as a distribution over some classes, to train on.

    The rule: votes for other classes, for "unknown" and for "not a face" are dropped, and what is left is divided by
    its sum. A row with no vote among the classes gets zeros, so that a cross-entropy on it is zero and it can be found
    with `targets.any(axis=1)`.

    Args:
        votes: array `(n, 10)`, in the order of `labels.FERPLUS_VOTES`.
        classes: names among FER-2013's seven and contempt.

    Returns:
        float32 array `(n, classes)`.

    Raises:
        ValueError: on a class that FER+ does not have, or votes of another shape.

    Example:

    >>> votes = np.array([[1, 7, 0, 0, 0, 0, 0, 0, 2, 0]])
    >>> soft_targets(votes, ("happy", "sad", "neutral"))
    array([[0.875, 0.   , 0.125]], dtype=float32)
    """
    kept = emotion_votes(votes, classes)
    total = kept.sum(axis=1, keepdims=True)
    return np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)


def emotion_votes(votes, classes=EMOTIONS):
    """Return the votes for each of `classes`, float32 `(n, classes)`."""
    refuse_unknown("class", classes, EMOTIONS)
    votes = np.asarray(votes, np.float32)
    if votes.ndim != 2 or votes.shape[1] != len(FERPLUS_VOTES):
        raise ValueError(f"`votes` must have the shape (n, {len(FERPLUS_VOTES)}). Received: {votes.shape}.")
    return votes[:, [EMOTIONS.index(name) for name in classes]]


def plurality(votes):
    """Return the names of the emotions with most votes, str `(n,)`; of several, the first in FER+'s order.

    "Unknown" and "not a face" do not count; a row without any other vote gets an empty name.
    """
    counted = emotion_votes(votes)
    return np.where(counted.any(axis=1), np.array(EMOTIONS)[counted.argmax(axis=1)], "")


def not_a_face(votes):
    """Return a mask bool `(n,)` of the images that more than half of the votes call no face."""
    votes = np.asarray(votes, np.float32)
    return votes[:, NOT_A_FACE] > votes.sum(axis=1) / 2


def names_emotion(votes):
    """Return a mask bool `(n,)` of the images that at least half of the votes give an emotion."""
    return emotion_votes(votes).sum(axis=1) >= np.asarray(votes, np.float32).sum(axis=1) / 2
