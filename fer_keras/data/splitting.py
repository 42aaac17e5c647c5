"""Which side of a split each picture goes to: stratified by class, copies of a picture together."""

import numpy as np

from fer_keras.labels import SPLITS


def draw(labels, digests, generator, fractions, *, groups=None):
    """Return the split of each picture, str `(n,)`.

    Args:
        labels: int array `(n,)`.
        digests: array `(n,)`, equal for exact copies.
        generator: a `numpy.random.Generator`.
        fractions: shares of train, validation and test, summing to 1.
        groups: array `(n,)`, such as who is pictured; what is equal stays on one side. None lets only copies be such.
    """
    if groups is not None:
        return by_group(labels, joined(groups, digests), generator, fractions)
    _, first, copies = np.unique(digests, return_index=True, return_inverse=True)
    return by_class(labels[first], generator, fractions)[copies]


def by_class(labels, generator, fractions):
    """Return a split that gives every class its shares, to the nearest picture."""
    side = np.empty(len(labels), dtype="<U10")
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        bounds = np.round(np.cumsum(fractions)[:2] * len(members)).astype(int)
        for name, part in zip(SPLITS, np.split(members, bounds), strict=True):
            side[part] = name
    return side


def by_group(labels, group, generator, fractions):
    """Return a split of whole groups, numbered from 0: the largest first, each to where it is missed most.

    What a side misses of a class counts in shares of the class and of the side: a rare class weighs as much as a
    frequent one, and a tenth as much as the rest.
    """
    counts = np.zeros((group.max(initial=-1) + 1, labels.max(initial=-1) + 1))
    np.add.at(counts, (group, labels), 1)
    shares = counts / counts.sum(axis=0).clip(1)
    sides = np.flatnonzero(fractions)
    wanted = np.array(fractions)[sides]
    missing = np.repeat(wanted[:, None], counts.shape[1], axis=1)
    taken = np.zeros(len(counts), np.int64)
    order = generator.permutation(len(counts))
    for index in order[np.argsort(-counts[order].sum(axis=1), kind="stable")]:
        nearer = (missing**2 - (missing - shares[index]) ** 2).sum(axis=1) / wanted
        taken[index] = nearer.argmax()
        missing[taken[index]] -= shares[index]
    return np.array(SPLITS, "<U10")[sides[taken]][group]


def joined(groups, digests):
    """Return groups numbered from 0, those that share a copy of a picture made one."""
    _, group = np.unique(groups, return_inverse=True)
    _, copies = np.unique(digests, return_inverse=True)
    while True:
        lowest = np.full(len(group), len(group))
        np.minimum.at(lowest, copies, group)
        reached = np.full(len(group), len(group))
        np.minimum.at(reached, group, lowest[copies])
        if np.array_equal(reached[group], group):
            return np.unique(group, return_inverse=True)[1]
        group = reached[group]
