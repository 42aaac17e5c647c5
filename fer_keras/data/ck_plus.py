"""`load_ckplus`: CK+48, the last three frames of each sequence of CK+, cut to 48x48.

Reference: Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010.
"""

import re
from pathlib import Path

from fer_keras.data.dataset import DataError, Problems, say
from fer_keras.data.picture_folders import class_name, list_classes, places, read_listed, refuse_others, subfolders
from fer_keras.labels import CKPLUS7

NAME = re.compile(r"S([0-9]{3})_([0-9]{3})_([0-9]{8})")  # person, sequence, frame
PER_PERSON = 10**11  # what the digits of sequence and frame count to


def load_ckplus(path, *, on_error="raise"):
    """Return CK+48: seven classes, contempt among them, neutral not.

    The set has no split of its own. One is drawn by person, 80/10/10 with seed 0, so that no one is in two splits: the
    frames of a sequence are all but equal. The classes get their shares as nearly as that allows. A line on stderr and
    `source` say so.

    Args:
        path: the folder `CK+48` or one that holds it, with `anger/S010_004_00000017.png` and so on.
        on_error: `"raise"` stops at the first bad picture or class folder; `"skip"` leaves them out and lists them in
            `.skipped`.

    Returns:
        A `FaceDataset` of protocol `"own"` and the classes `labels.CKPLUS7`; `rows` are the digits of the file names.

    Raises:
        DataError: a `ValueError`, if this is not CK+48, or a picture is bad.
    """
    given, problems = Path(path).expanduser(), Problems(on_error)
    root = locate(given)
    if root is None:
        raise DataError(f"{given}: Expected CK+48, a folder of anger, contempt, disgust, ... Received: none.")
    refuse_others(root, CKPLUS7, problems)
    faces = read_listed(
        list(list_classes(root, "train", CKPLUS7, problems, place=place_frame)),
        problems,
        root=root,
        classes=CKPLUS7,
        source="CK+48, split 80/10/10 by person, drawn with seed 0",
        protocol="own",
    )
    say(f"{path}: {faces.source}")
    return faces.resplit(0, groups=faces.rows // PER_PERSON)


def locate(given):
    """Return the folder of the class folders at or below a path, None if there is none."""
    return next((place for place in places(given, "CK+48") if holds_classes(place)), None)


def is_ckplus(given):
    """Tell whether class folders lie at a path, and in the first of them a frame named as CK+ names them."""
    root = locate(given)
    files = (file for folder in subfolders(root) for file in folder.iterdir()) if root else ()
    return any(NAME.fullmatch(file.stem) for file in files)


def holds_classes(folder):
    """Tell whether a folder holds class folders of CK+48, contempt among them or not."""
    return len({class_name(item) for item in subfolders(folder)} & set(CKPLUS7)) > 1


def place_frame(file, split):
    """Return the split and the digits of a frame's name, as one number."""
    name = NAME.fullmatch(file.stem)
    if name is None:
        raise DataError("Expected a name like S010_004_00000017: person, sequence, frame.")
    return split, int("".join(name.groups()))
