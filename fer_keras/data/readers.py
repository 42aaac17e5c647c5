"""`load_fer7`, `load_fer4`, `load_ferplus`, `load_faces`: one `FaceDataset` from whatever is at hand."""

import os
from pathlib import Path

import numpy as np

from fer_keras.data import cache, ck_plus, class_folders, course, download, raf_db
from fer_keras.data.dataset import PROTOCOLS, DataError, Problems, refuse_unknown, say
from fer_keras.data.forms import FORMS, identify, recognise
from fer_keras.data.votes import ferplus_winners
from fer_keras.labels import FER4, FER7, FERPLUS8, NUM_IMAGES, count_difference


def load_fer7(path=None, *, protocol=None, on_error="raise"):
    """Return the seven classes of FER-2013, with the split of what lies at the path.

    What lies there is found out. The challenge's split (Training, PublicTest, PrivateTest) is protocol `"official"`;
    some published forms ignore it or lack it, and then `.protocol` and `.source` say whose split it is. The first read
    is kept in the user's cache (`fer_keras.paths.cache()`), so that the next one takes a fraction of a second; the
    images may then be a read-only view of a file.

    Args:
        path: a file or folder in one of the published forms. Without it: the environment variable `FER_KERAS_DATA`,
            else a copy in the cache, else a download from Kaggle.
        protocol: the split to insist on, one of `data.faces.PROTOCOLS`; None takes what lies there.
        on_error: `"raise"` stops at the first bad row; `"skip"` leaves bad rows out and lists them in `.skipped`.

    Returns:
        A `FaceDataset` of the classes `labels.FER7`.

    Raises:
        DataError: a `ValueError`, if no data is found, it is not what it should be, or its split is another.

    Example:

    >>> load_fer7("no/such/fer2013.csv")
    Traceback (most recent call last):
        ...
    fer_keras.data.dataset.DataError: no/such/fer2013.csv: Expected data here. Received: no such file or folder. ...
    """
    return read(path, FER7, protocol, on_error)[0].select(classes=FER7)


def load_fer4(path=None, *, protocol=None, on_error="raise"):
    """Return the four classes happy, sad, surprise and neutral.

    They come with splits that must never be mixed: `"official"` selects the four classes from FER-2013 and keeps its
    split; `"course"` is a published course set that drew its own from the same images, so that its training images
    include test images of the official split.

    Args:
        path: as for `load_fer7`; also the course set's folders, or a folder with FER-2013 and `adsp_rows.csv`.
        protocol: as for `load_fer7`; None takes `"official"` where the source has it.
        on_error: as for `load_fer7`.

    Returns:
        A `FaceDataset` of the classes `labels.FER4`.

    Raises:
        DataError: a `ValueError`, as for `load_fer7`.
    """
    faces, place = read(path, FER4, protocol, on_error)
    if protocol == "course" and faces.protocol == "official":
        faces = course_rows(faces, place)
    return faces.select(classes=FER4)


def load_ferplus(path=None, *, mode="majority", classes=FERPLUS8, on_error="raise"):
    """Return the faces that FER+ keeps, with the labels that its votes give, on the official split.

    The rules are those of FER+, see `data.ferplus_targets`, which gives the targets to train on:
    `ferplus_targets(faces.votes, faces.classes, mode=mode)`.

    Args:
        path: as for `load_fer7`, in a form with votes: the Parquet files, or a CSV with fer2013new.csv beside it.
        mode: `"majority"` or `"probability"`.
        classes: the classes to keep, among `labels.FERPLUS8`; faces for which another wins are left out.
        on_error: as for `load_fer7`.

    Returns:
        A `FaceDataset` of protocol `"official"`: the winning class as label, and the ten votes.

    Raises:
        DataError: a `ValueError`, as for `load_fer7`, or if there are no votes.
    """
    refuse_unknown("class", classes, FERPLUS8)
    faces, place = read(path, FER7, "official", on_error)
    if faces.votes is None:
        raise DataError(
            f"{place or 'The cached FER-2013'}: Expected FER-2013 with the votes of FER+. Received: {faces.source}. "
            "Put fer2013new.csv (github.com/microsoft/FERPlus) beside fer2013.csv, and pass their folder."
        )
    winners = ferplus_winners(faces.votes, mode=mode)
    keep = np.isin(winners, classes)
    return faces.take(
        keep,
        labels=np.array([classes.index(name) for name in winners[keep].tolist()], np.int64),
        classes=tuple(classes),
        source=f"{faces.source}, labels by FER+ {mode}",
    )


def load_faces(path=None, *, on_error="raise"):
    """Return whatever faces lie at a path, with the classes and the split that they have.

    FER-2013 or its course set in any form, RAF-DB, CK+48, or class folders of anyone's own: as `load_fer7`,
    `load_fer4`, `load_rafdb`, `load_ckplus` and `load_folder` read them.

    Args:
        path: a file or folder; without it as for `load_fer7`.
        on_error: as for `load_fer7`.

    Returns:
        A `FaceDataset`.

    Raises:
        DataError: a `ValueError`, if nothing of these lies there, or it is not what it should be.
    """
    place = given(path)
    found = recognise(place) if place is not None and place.exists() else None
    if found and found[0].classes == FER4:
        return load_fer4(place, on_error=on_error)
    if found or place is None or not place.is_dir():
        return load_fer7(place, on_error=on_error)
    if any(raf_db.locate(place)):
        return raf_db.load_rafdb(place, on_error=on_error)
    load = ck_plus.load_ckplus if ck_plus.is_ckplus(place) else class_folders.load_folder
    return load(place, on_error=on_error)


def course_rows(faces, place):
    """Return the course set from FER-2013 and the list of its rows in the folder `place` (None: the cache's copy)."""
    rows = place / course.ROWS_FILE if place else None
    if rows is None or not rows.is_file():
        raise DataError(
            f"{place or 'The cached FER-2013'}: Expected the course set. Received: {faces.source}, without the list of "
            f"its rows. Put {course.ROWS_FILE} beside it, pass the course's folders, or ask for protocol='official'."
        )
    return course.from_rows(faces, rows)


def read(path, classes, protocol, on_error):
    """Return the `FaceDataset` of what is found, and the folder its files lie in (None for the cache's own copy)."""
    refuse_unknown("protocol", [] if protocol is None else [protocol], PROTOCOLS)
    problems = Problems(on_error)
    place = given(path)
    if place is None:
        copy = cached_copy()
        if copy is not None:
            refuse_other("The cached FER-2013", copy, copy.source, classes=classes, protocol=protocol)
            return copy, None
        place = fetch()
    form, found = identify(place, protocol=protocol)
    refuse_other(place, form, form.layout, classes=classes, protocol=protocol)
    if form.cached:
        faces = cache.cached(form.name, found, lambda: form.read(found, problems))
    else:
        faces = form.read(found, problems)
    refuse_other(place, faces, faces.source, classes=classes, protocol=protocol)
    if faces.protocol == "own":
        say(f"{place}: {faces.source}")
    return faces, found[0].parent


def refuse_other(place, found, what, *, classes, protocol):
    """Raise a `DataError` unless what was found, a `Form` or faces, has the classes and the split asked for."""
    if found.classes is None:  # an archive: once it is read, its faces are asked
        return
    if not set(classes) <= set(found.classes):
        raise DataError(
            f"{place}: Expected the classes {', '.join(classes)}. Received: {what}, which has "
            f"{', '.join(found.classes)}. Use load_fer4 for the four of the course set, or pass another path."
        )
    made_of_rows = protocol == "course" and classes == FER4 and found.protocol == "official"
    if protocol not in (None, found.protocol) and not made_of_rows:
        raise DataError(
            f"{place}: Expected the {protocol} split. Received: {what}, whose split is another "
            f"({found.protocol!r}). Ask for protocol={found.protocol!r}, or pass another path."
        )


def given(path):
    """Return `path`, else what `FER_KERAS_DATA` says, else None."""
    if path is not None:
        return Path(path)
    if not os.environ.get("FER_KERAS_DATA"):
        return None
    place = Path(os.environ["FER_KERAS_DATA"]).expanduser()
    if not place.exists():
        raise DataError(f"FER_KERAS_DATA={place}: Expected FER-2013 there. Received: no such file or folder.")
    return place


def fetch():
    """Return where Kaggle's download lies; the one error that says the ways to get the data if there is none."""
    try:
        return download.download()
    except DataError as error:
        forms = "".join(f"\n       - {form.layout}" for form in FORMS)
        raise DataError(
            "FER-2013 is not here. Three ways to get it:\n"
            "  1. Set the environment variable FER_KERAS_DATA to where it lies.\n"
            "  2. Let kagglehub download it: pip install 'fer_keras[data]', be online, and log in to Kaggle "
            "(kagglehub.login(), or KAGGLE_API_TOKEN).\n"
            "  3. Pass its path: load_fer7(path), load_fer4(path), or --data PATH on the command line.\n"
            f"     A path may be{forms}\n"
            f"Tried last: {error}"
        ) from error


def cached_copy():
    """Return the whole FER-2013 that the cache holds from an earlier read, or None; one with votes is preferred."""
    found = [cache.load(name) for name in cache.names(NUM_IMAGES)]
    found = [faces for faces in found if faces is not None and faces.protocol == "official" and faces.classes == FER7]
    found = [faces for faces in found if not count_difference("official", faces.counts().T.to_dict())]
    return max(found, key=lambda faces: faces.votes is not None, default=None)
