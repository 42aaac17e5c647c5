"""The published forms of the data, and which of them lies at a path."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from fer_keras.data import fer2013_parquet
from fer_keras.data.problems import DataError
from fer_keras.labels import FER7


@dataclasses.dataclass(frozen=True)
class Form:
    """One published form of the data.

    Args:
        name: a word for it, also used in the cache's file names.
        layout: what lies at the path, in words.
        find: function of a `Path` that returns what to read, as a tuple of paths, or None if it is not this form.
        read: function of those paths and a `Problems` that returns a `FaceDataset`.
        classes: the classes it gives.
        cached: whether parsing it takes long enough for a cache.
    """

    name: str
    layout: str
    find: Callable
    read: Callable
    classes: tuple = FER7
    cached: bool = True


# Tried from the first to the last.
FORMS = (
    Form(
        name="fer2013-parquet",
        layout=f"a folder with {', '.join(fer2013_parquet.FILES)}",
        find=fer2013_parquet.find,
        read=fer2013_parquet.read,
    ),
)


def identify(path):
    """Return the `Form` of what lies at `path`, and the paths to read.

    Raises:
        DataError: if nothing lies there, or nothing of a known form.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path}: Expected data here. Received: no such file or folder. Check the path.")
    for form in FORMS:
        found = form.find(path)
        if found:
            return form, found
    known = "".join(f"\n  - {form.layout}" for form in FORMS)
    raise DataError(
        f"{path}: Expected one of the following. Received: {describe(path)}.{known}\n"
        "For folders of your own classes use fer_keras.data.load_folder(path)."
    )


def describe(path):
    """Return in a few words what lies at `path`."""
    if path.is_file():
        return "a file of another kind"
    names = sorted(item.name for item in path.iterdir())
    return f"a folder with {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else "an empty folder"
