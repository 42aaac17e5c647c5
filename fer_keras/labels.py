"""Class names, their order and their colours: the one place that knows them.

FER-2013 numbers its classes in the order of `FER7`, which is not alphabetical; a directory reader's order is.
Every reader of this package remaps to the order given here.
"""

from collections.abc import Iterable, Mapping, Set

FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FER6 = FER7[:6]
FER4 = ("happy", "sad", "surprise", "neutral")
FER3 = tuple(name for name in FER7 if name not in FER4)
FERPLUS8 = (*FER7, "contempt")
REST = "rest"  # all classes but one, for a network that tells one from them
CKPLUS7 = (*FER6, "contempt")  # CK+48 has no neutral faces

# RAF-DB numbers its classes from 1, in this order (Li, Deng and Du, CVPR 2017).
RAFDB_LABELS = {
    "1": "surprise",
    "2": "fear",
    "3": "disgust",
    "4": "happy",
    "5": "sad",
    "6": "angry",
    "7": "neutral",
}

# What other sets call the emotions.
SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}


def emotion(name):
    """Return what FER-2013 and FER+ call the emotion that a set calls `name`, whatever its case; None if none.

    Example:

    >>> emotion("Happiness"), emotion("bored")
    ('happy', None)
    """
    known = SYNONYMS.get(name.lower(), name.lower())
    return known if known in FERPLUS8 else None


def check_classes(classes) -> tuple:
    """Class names as a tuple of distinct strings, two at least; a `ValueError` if they are none.

    Example:

    >>> check_classes(["sad", "happy"])
    ('sad', 'happy')
    """
    is_ordered = isinstance(classes, Iterable) and not isinstance(classes, str | bytes | Set | Mapping)
    names = tuple(classes) if is_ordered else ()
    if not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < max(2, len(names)):
        raise ValueError(
            "`classes` must be two or more different names, in the order of the network's outputs. "
            f"Received: {classes!r}. Pass a list such as ['happy', 'sad']."
        )
    return tuple(map(str, names))


def check_same_classes(classes, known, name: str) -> None:
    """Raise a `ValueError` where `classes` are given and are not those that a network's card knows."""
    if classes is not None and check_classes(classes) != tuple(known):
        raise ValueError(
            f"{name}: Expected the classes of its card, {', '.join(known)}. Received: {', '.join(classes)}. "
            "Leave out `classes`."
        )


SPLITS = ("train", "validation", "test")
USAGE_TO_SPLIT = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}

# The ten columns of FER+ (Barsoum et al., 2016), in the order of its file. "NF" is "not a face".
FERPLUS_VOTES = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
FERPLUS_TO_CLASS = {name: emotion(name) for name in FERPLUS_VOTES if emotion(name)}

# Colour-blind safe (Okabe and Ito, 2008).
COLOURS = {
    "angry": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happy": "#E69F00",
    "sad": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#595959",
    "contempt": "#F0E442",
}


# By protocol: a row a split, in the order of `SPLITS`; a column a class, in that of `FER7`. "folders" is what
# jonathanoheix/face-expression-recognition-dataset has on Kaggle: 28,821 for training, 7,066 for validation.
PUBLISHED_COUNTS = {
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
NUM_IMAGES = sum(map(sum, PUBLISHED_COUNTS["official"]))  # all of FER-2013


def count_difference(protocol, counts):
    """Return in words where counts of FER-2013's classes differ from the published ones; an empty text if nowhere.

    Args:
        protocol: whose split it is, one of `PUBLISHED_COUNTS`.
        counts: dictionary of splits to dictionaries of classes to numbers of images; a selection of classes is
            compared with the same selection.

    Example:

    >>> none = {"happy": 0, "sad": 0}
    >>> count_difference("folders", {"train": none, "validation": {"happy": 1825, "sad": 1139}, "test": none})
    'train: expected 7,164 happy, 4,938 sad; received 0 happy, 0 sad'
    """
    found = []
    for split, row in zip(SPLITS, PUBLISHED_COUNTS[protocol], strict=True):
        expected = {name: number for name, number in zip(FER7, row, strict=True) if name in counts[split]}
        received = {name: counts[split][name] for name in expected}
        if expected != received:
            found.append(f"{split}: expected {in_words(expected)}; received {in_words(received)}")
    return "; ".join(found)


def in_words(numbers):
    """Return numbers of images by class in words."""
    return ", ".join(f"{number:,} {name}" for name, number in numbers.items())
