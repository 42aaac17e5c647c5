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
RAFDB_LABELS = dict(zip("1234567", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), strict=True))
# What other sets call the emotions.
SYNONYMS = {"anger": "angry", "disgusted": "disgust", "fearful": "fear", "happiness": "happy"}
SYNONYMS |= {"sadness": "sad", "surprised": "surprise"}


def emotion(name):
    """The name in FER-2013 and FER+ of the emotion that a set calls `name`, whatever its case; None if none.

    >>> emotion("Happiness"), emotion("bored")
    ('happy', None)
    """
    known = SYNONYMS.get(name.lower(), name.lower())
    return known if known in FERPLUS8 else None


def check_classes(classes, *, least: int = 2) -> tuple:
    """Class names as a tuple of distinct strings, `least` at least; a `ValueError` if they are none.

    Names of one emotion, such as "sad" and "Sadness", are not distinct.

    >>> check_classes(["sad", "happy"])
    ('sad', 'happy')
    """
    is_ordered = isinstance(classes, Iterable) and not isinstance(classes, str | bytes | Set | Mapping)
    names = tuple(classes) if is_ordered else ()
    is_named = all(isinstance(name, str) and name.strip() for name in names)
    if not is_named or len({emotion(name.strip()) or name for name in names}) < max(least, len(names)):
        expected = f"{'one' if least == 1 else 'two'} or more different names, in the order of labels or of outputs"
        raise ValueError(f"`classes` must be {expected}. Received: {classes!r}. Pass a list such as ['happy', 'sad'].")
    return tuple(map(str, names))


def check_same_classes(classes, known, name: str) -> None:
    """Raise a `ValueError` where `classes` are given and are not those that a network's card knows."""
    if classes is not None and check_classes(classes) != tuple(known):
        received = f"Received: {', '.join(classes)}. Leave out `classes`."
        raise ValueError(f"{name}: Expected the classes of its card, {', '.join(known)}. {received}")


SPLITS = ("train", "validation", "test")
USAGE_TO_SPLIT = dict(zip(("Training", "PublicTest", "PrivateTest"), SPLITS, strict=True))
# The ten columns of FER+ (Barsoum et al., 2016), in the order of its file. "NF" is "not a face".
FERPLUS_VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
FERPLUS_TO_CLASS = {name: emotion(name) for name in FERPLUS_VOTES if emotion(name)}

# Colour-blind safe (Okabe and Ito, 2008).
COLOURS = {
    "angry": "#D55E00", "disgust": "#009E73", "fear": "#CC79A7", "happy": "#E69F00", "sad": "#0072B2",
    "surprise": "#56B4E9", "neutral": "#595959", "contempt": "#F0E442",
}  # fmt: skip

# By protocol: a row a split, in the order of `SPLITS`; a column a class, in that of `FER7`. "folders" is what
# jonathanoheix/face-expression-recognition-dataset has on Kaggle: 28,821 for training, 7,066 for validation.
PUBLISHED_COUNTS = {
    "official": (
        (3995, 436, 4097, 7215, 4830, 3171, 4965),
        (467, 56, 496, 895, 653, 415, 607),
        (491, 55, 528, 879, 594, 416, 626),
    ),
    "folders": ((3993, 436, 4103, 7164, 4938, 3205, 4982), (960, 111, 1018, 1825, 1139, 797, 1216), (0,) * 7),
    "course": ((0, 0, 0, 3976, 3982, 3173, 3978), (0, 0, 0, 1825, 1139, 797, 1216), (0, 0, 0, 32, 32, 32, 32)),
}
# By `data.load.content_difference`, of FER-2013's rows, splits, labels and pixels, of the course set's without pixels,
# of FER+'s votes. Pixels of `JPEG_ROWS` don't count: the Parquet files hold them as JPEG, fer2013.csv as they were.
PUBLISHED_DIGESTS = {"official": "a33ba7f53b69d7c1", "course": "6f89bac114d83589", "votes": "3449ca8facb76b8a"}
KNOWN_AS_JPEG = (
    "17 23 59 170 501 633 639 1303 1648 2059 2171 2658 2671 2809 3177 3185 3262 3336 3385 3403 3549 3931 4069 4275 "
    "4327 4521 5051 5082 5439 5478 5509 5722 5881 5935 6102 6202 6369 6458 6478 6541 6646 6699 6708 7015 7172 7496 "
    "7527 7629 7965 8030 8567 8627 8737 8856 9026 9121 9256 9264 9474 9500 9673 9679 9693 9797 10023 10423 10713 "
    "10792 10930 11031 11244 11286 11295 11626 11846 12289 12352 12465 12840 13011 13148 13402 13697 13988 14148 "
    "14279 14702 15013 15144 15553 15668 15838 15894 15966 15975 16024 16180 16540 16622 16885 17081 17251 17620 "
    "17947 18012 18337 18492 18625 18912 19238 19422 19632 19638 19997 20222 20712 20817 21320 21792 21817 21937 "
    "22063 22198 22314 22407 22550 22638 22813 22927 23047 23320 23561 23596 23894 24053 24191 24441 24593 24891 "
    "24971 25168 25219 25603 25909 26383 26860 26897 28601 29447 29557 30002 30705 30981 31127 31734 31825 32032 "
    "32257 32299 32603 32662 32683 33195 33422 33750 33928 34691 35121 35469 35632 35743 35825 35883"
)
JPEG_ROWS = tuple(map(int, KNOWN_AS_JPEG.split()))
# Different images of FER-2013, which has 34,032, and of the course set, 19,178; as JPEG a few more may coincide.
MIN_DISTINCT = {"official": 33_500, "folders": 33_500, "course": 18_900}
NUM_IMAGES = sum(map(sum, PUBLISHED_COUNTS["official"]))  # all of FER-2013
NUM_TRAINING = sum(PUBLISHED_COUNTS["official"][0])


def count_difference(protocol, counts):
    """Describe where counts of FER-2013's classes, by split and class, differ from the published; empty if nowhere.

    >>> none = {"happy": 0, "sad": 0}
    >>> count_difference("folders", {"train": none, "validation": {"happy": 1825, "sad": 1139}, "test": none})
    'train: expected 7,164 happy, 4,938 sad; received 0 happy, 0 sad'
    """
    found = []
    for split, row in zip(SPLITS, PUBLISHED_COUNTS[protocol], strict=True):
        expected = {name: number for name, number in zip(FER7, row, strict=True) if name in counts[split]}
        received = {name: counts[split][name] for name in expected}
        if expected != received:
            words = [", ".join(f"{number:,} {name}" for name, number in each.items()) for each in (expected, received)]
            found.append(f"{split}: expected {words[0]}; received {words[1]}")
    return "; ".join(found)
