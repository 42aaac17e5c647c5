"""With whom a network sides where the labels of a set and the people who judged it anew disagree."""

import numpy as np


def sides(labels, predicted, crowd):
    """Count with whom a network agrees, where label and crowd agree and where they do not.

    Args:
        labels: str array `(n,)`, the labels of the set.
        predicted: str array `(n,)`, what the network says.
        crowd: str array `(n,)`, what most people said; empty where they named no emotion: such images are left out.

    Returns:
        Dict of counts: `agreed` (images on which label and crowd agree) and `right` of these; `disputed` (on which they
        do not), and of these `with_label`, `with_crowd` and `with_neither`.

    Example:

    >>> sides(["fear", "sad", "sad"], ["sad", "sad", "angry"], ["sad", "sad", ""])
    {'agreed': 1, 'right': 1, 'disputed': 1, 'with_label': 0, 'with_crowd': 1, 'with_neither': 0}
    """
    labels, predicted, crowd = (np.asarray(names, str) for names in (labels, predicted, crowd))
    judged, agreed = crowd != "", labels == crowd
    disputed = judged & ~agreed
    with_label, with_crowd = disputed & (predicted == labels), disputed & (predicted == crowd)
    masks = {
        "agreed": judged & agreed,
        "right": judged & agreed & (predicted == labels),
        "disputed": disputed,
        "with_label": with_label,
        "with_crowd": with_crowd,
        "with_neither": disputed & ~with_label & ~with_crowd,
    }
    return {name: int(mask.sum()) for name, mask in masks.items()}
