"""What the ten FER+ votes a face say.

Reference: Barsoum, Zhang, Canton Ferrer and Zhang, "Training deep networks for facial expression recognition with
crowd-sourced label distribution", ICMI 2016.
"""

import numpy as np

from fer_keras.data.dataset import refuse_unknown
from fer_keras.labels import FERPLUS8, FERPLUS_TO_CLASS, FERPLUS_VOTES

EMOTIONS = tuple(FERPLUS_TO_CLASS[name] for name in FERPLUS_VOTES if name in FERPLUS_TO_CLASS)
NOT_A_FACE = FERPLUS_VOTES.index("NF")
MODES = ("majority", "probability")
NUM_LEADING = 3  # emotions that mode "probability" takes at most


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
    return shares(emotion_votes(votes, classes))


def shares(votes):
    """Return votes divided by their row's sum; zeros stay zeros."""
    total = votes.sum(axis=1, keepdims=True)
    return np.divide(votes, total, out=np.zeros_like(votes), where=total > 0)


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


def ferplus_targets(votes, classes=FERPLUS8, *, mode="majority"):
    """Return the target that FER+'s own rules make of the votes, to train and to be scored on.

    The rules are those of the authors' code. Of FER-2013's rows, `"majority"` leaves 25,060 / 3,199 / 3,153 and
    `"probability"` 27,956 / 3,505 / 3,505. In both, an emotion with a single vote is an outlier and loses it.

    - `"majority"`: all on the one emotion that has more than half of the votes that are left.
    - `"probability"`: the votes of the leading emotions, divided by their sum. Emotions are taken from the top, all of
      an equal number at once, until they have three quarters of the votes that are left, or are three, or "unknown" or
      "not a face" comes up, which ends it. They must have more than half of the votes that are left and be no more
      than three.

    A row where "unknown" or "not a face" comes first, or that breaks its rule, gets zeros, as one does whose winner is
    not among `classes`; FER+ leaves these rows out.

    Reference: Barsoum et al. 2016; https://github.com/microsoft/FERPlus, `_process_data` and `load_folders`
    in src/ferplus.py.

    Args:
        votes: array `(n, 10)`, in the order of `labels.FERPLUS_VOTES`.
        classes: names among FER-2013's seven and contempt. A distribution is over the chosen ones only.
        mode: `"majority"` or `"probability"`.

    Returns:
        float32 array `(n, classes)`.

    Raises:
        ValueError: on a class or mode that FER+ does not have, or votes of another shape.

    Example:

    >>> votes = np.array([[0, 6, 0, 3, 1, 0, 0, 0, 0, 0]])
    >>> ferplus_targets(votes, ("happy", "sad", "neutral"))
    array([[1., 0., 0.]], dtype=float32)
    >>> ferplus_targets(votes, ("happy", "sad", "neutral"), mode="probability").round(2)
    array([[0.67, 0.33, 0.  ]], dtype=float32)
    """
    refuse_unknown("class", classes, EMOTIONS)
    taken = taken_votes(votes, mode)
    columns = [EMOTIONS.index(name) for name in classes]
    wins = np.isin(taken.argmax(axis=1), columns)
    return shares(taken[:, columns] * wins[:, None])


def ferplus_winners(votes, *, mode="majority"):
    """Return the names of the emotions that win by `ferplus_targets`, str `(n,)`; empty where none does.

    Of several with equal votes, the first in FER+'s order wins.
    """
    taken = taken_votes(votes, mode)
    return np.where(taken.any(axis=1), np.array(EMOTIONS)[taken.argmax(axis=1)], "")


def taken_votes(votes, mode):
    """Return the votes that `ferplus_targets` divides, float32 `(n, 8)` in FER+'s order; zeros for rows left out."""
    refuse_unknown("mode", [mode], MODES)
    emotion_votes(votes)  # refuses other shapes
    left = np.where(np.asarray(votes) > 1, votes, 0).astype(np.float32)
    total = left.sum(axis=1)
    taken = most_votes(left) if mode == "majority" else leading_votes(left, total)
    return np.where((taken.sum(axis=1) > total / 2)[:, None], taken, 0)


def most_votes(left):
    """Return the votes of the first of the ten with most votes, others 0; zeros if that is no emotion."""
    first = np.arange(len(FERPLUS_VOTES)) == left.argmax(axis=1)[:, None]
    return (left * first)[:, : len(EMOTIONS)]


def leading_votes(left, total):
    """Return the votes of the emotions that mode `"probability"` takes from the top, others 0."""
    left, taken = left.copy(), np.zeros((len(left), len(EMOTIONS)), np.float32)
    seen, count = np.zeros(len(left)), np.zeros(len(left), int)
    ended = np.zeros(len(left), bool)
    for _ in range(NUM_LEADING):  # each turn takes one emotion at least, or ends
        goes_on = (seen < 0.75 * total) & (count < NUM_LEADING) & ~ended
        top = (left == left.max(axis=1, keepdims=True)) & goes_on[:, None]
        taken += (left * top)[:, : len(EMOTIONS)]
        seen += (left * top).sum(axis=1)
        count += top[:, : len(EMOTIONS)].sum(axis=1)
        ended |= top[:, len(EMOTIONS) :].any(axis=1)
        left[top] = 0
    return np.where((count <= NUM_LEADING)[:, None], taken, 0)
