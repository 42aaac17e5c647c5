"""How many images the published sets have, by split and class: to tell a whole one from a part."""

from fer_keras.labels import FER7, SPLITS

# By protocol: a row a split, in the order of `SPLITS`; a column a class, in that of `FER7`. "folders" is what
# jonathanoheix/face-expression-recognition-dataset has on Kaggle: 28,821 for training, 7,066 for validation.
COUNTS = {
    "official": (
        (3995, 436, 4097, 7215, 4830, 3171, 4965),
        (467, 56, 496, 895, 653, 415, 607),
        (491, 55, 528, 879, 594, 416, 626),
    ),
    "folders": (
        (3993, 436, 4103, 7164, 4938, 3205, 4982),
        (960, 111, 1018, 1825, 1139, 797, 1216),
        (0, 0, 0, 0, 0, 0, 0),
    ),
}
NUM_IMAGES = sum(map(sum, COUNTS["official"]))  # all of FER-2013


def difference(protocol, counts):
    """Return in words where counts of FER-2013's classes differ from the published ones; an empty text if nowhere.

    Args:
        protocol: whose split it is, one of `COUNTS`.
        counts: dictionary of splits to dictionaries of classes to numbers of images; a selection of classes is
            compared with the same selection.

    Example:

    >>> none = {"happy": 0, "sad": 0}
    >>> difference("folders", {"train": none, "validation": {"happy": 1825, "sad": 1139}, "test": none})
    'train: expected 7,164 happy, 4,938 sad; received 0 happy, 0 sad'
    """
    found = []
    for split, row in zip(SPLITS, COUNTS[protocol], strict=True):
        expected = {name: number for name, number in zip(FER7, row, strict=True) if name in counts[split]}
        received = {name: counts[split][name] for name in expected}
        if expected != received:
            found.append(f"{split}: expected {in_words(expected)}; received {in_words(received)}")
    return "; ".join(found)


def in_words(numbers):
    """Return numbers of images by class in words."""
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())
