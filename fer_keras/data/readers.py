"""`load_fer7` and `load_fer4`: one `FaceDataset` from whatever form of FER-2013 is at hand."""

import os
from pathlib import Path

from fer_keras.data import cache, course, download
from fer_keras.data.forms import FORMS, identify
from fer_keras.data.problems import DataError, Problems
from fer_keras.labels import FER4, FER7

PROTOCOLS = ("official", "course")
NUM_IMAGES = 35_887  # all of FER-2013


def load_fer7(path=None, *, on_error="raise"):
    """Return FER-2013: seven classes, the official split (Training, PublicTest, PrivateTest).

    What lies at the path is found out. The first read is kept in the user's cache (`fer_keras.paths.cache()`), so that
    the next one takes a fraction of a second; the images may then be a read-only view of a file.

    Args:
        path: a file or folder in one of the published forms. Without it: the environment variable `FER_KERAS_DATA`,
            else a copy in the cache, else a download from Kaggle.
        on_error: `"raise"` stops at the first bad row; `"skip"` leaves bad rows out and lists them in `.skipped`.

    Returns:
        A `FaceDataset` of protocol `"official"`.

    Raises:
        DataError: a `ValueError`, if no data is found, or it is not what it should be.

    Example:

    >>> load_fer7("no/such/fer2013.csv")
    Traceback (most recent call last):
        ...
    fer_keras.data.problems.DataError: no/such/fer2013.csv: Expected data here. Received: no such file or folder. ...
    """
    return read(path, FER7, "official", on_error)[0]


def load_fer4(path=None, *, protocol=None, on_error="raise"):
    """Return the four classes happy, sad, surprise and neutral.

    They come with one of two splits, which must never be mixed: `"official"` selects the four classes from FER-2013
    and keeps its split; `"course"` is a published course set that drew its own from the same images, so that its
    training images include test images of the official split.

    Args:
        path: as for `load_fer7`; also the course set's folders, or a folder with FER-2013 and `adsp_rows.csv`.
        protocol: `"official"` or `"course"`; None takes `"official"` where the source has it.
        on_error: as for `load_fer7`.

    Returns:
        A `FaceDataset` of the protocol asked for.

    Raises:
        DataError: a `ValueError`, as for `load_fer7`, or if the source does not have the protocol.
    """
    if protocol not in (None, *PROTOCOLS):
        raise ValueError(f"`protocol` must be one of {PROTOCOLS} or None. Received: {protocol!r}.")
    faces, place = read(path, FER4, protocol, on_error)
    if faces.protocol == "course":
        return faces
    if protocol != "course":
        return faces.select(classes=FER4)
    rows = place / course.ROWS_FILE if place else None
    if rows is None or not rows.is_file():
        raise DataError(
            f"{place or 'The cached FER-2013'}: Expected the course set. Received: {faces.source}, without the list of "
            f"its rows. Put {course.ROWS_FILE} beside it, pass the course's folders, or ask for protocol='official'."
        )
    return course.from_rows(faces, rows)


def read(path, classes, protocol, on_error):
    """Return the `FaceDataset` of what is found, and the folder its files lie in (None for the cache's own copy)."""
    problems = Problems(on_error)
    place = given(path)
    if place is None:
        copy = cached_copy()
        if copy is not None:
            return copy, None
        place = fetch()
    form, found = identify(place, protocol=protocol)
    if not set(classes) <= set(form.classes):
        raise DataError(
            f"{place}: Expected the classes {', '.join(classes)}. Received: {form.layout}, which has "
            f"{', '.join(form.classes)}. Use load_fer4 for it, or pass another path."
        )
    if protocol == "official" and form.protocol != "official":
        raise DataError(
            f"{place}: Expected the official split of FER-2013. Received: {form.layout}, which ignores it. "
            "Ask for protocol='course', or pass another path."
        )
    if not form.cached:
        return form.read(found, problems), found[0].parent
    return cache.cached(form.name, found, lambda: form.read(found, problems)), found[0].parent


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
    return max(found, key=lambda faces: faces.votes is not None, default=None)
