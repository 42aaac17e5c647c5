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
