"""The published forms of the data, and which of them lies at a path."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from fer_keras.data import course_folders, fer2013_csv, fer2013_folders, fer2013_parquet
from fer_keras.data.problems import DataError
from fer_keras.labels import FER4, FER7


@dataclasses.dataclass(frozen=True)
class Form:
    """One published form of the data.

    Args:
        name: a word for it, also used in the cache's file names.
        layout: what lies at the path, in words.
        find: function of a `Path` that returns what to read, as a tuple of paths, or None if it is not this form.
        read: function of those paths and a `Problems` that returns a `FaceDataset`.
        classes: the classes it gives.
        protocol: whose splits it gives.
        cached: whether it is kept in the cache; `find` must then return files.
    """

    name: str
    layout: str
    find: Callable
    read: Callable
    classes: tuple = FER7
    protocol: str = "official"
    cached: bool = True


# Tried from the first to the last.
FORMS = (
    Form(
        name="fer2013-parquet",
        layout=f"a folder with {', '.join(fer2013_parquet.FILES)}",
        find=fer2013_parquet.find,
        read=fer2013_parquet.read,
    ),
    Form(
        name="fer2013-csv",
        layout=f"fer2013.csv (columns {','.join(fer2013_csv.COLUMNS)}), or a folder that holds it",
        find=fer2013_csv.find,
        read=fer2013_csv.read,
    ),
    Form(
        name="course-folders",
        layout=f"the course's folders, train|validation|test/{'|'.join(sorted(FER4))}/N.jpg",
        find=course_folders.find,
        read=course_folders.read,
        classes=FER4,
        protocol="course",
        cached=False,
    ),
    Form(
        name="fer2013-folders",
        layout="folders train|test/<emotion>/ with Training_N.jpg, PublicTest_N.jpg, PrivateTest_N.jpg",
        find=fer2013_folders.find_named,
        read=fer2013_folders.read_named,
        cached=False,
    ),
    Form(
        name="fer2013-unnamed-folders",
        layout="folders train|test/<emotion>/ of pictures with other names",
        find=fer2013_folders.find_unnamed,
        read=fer2013_folders.read_unnamed,
        protocol="own",
        cached=False,
    ),
    Form(
        name="fer2013-validated-folders",
        layout="folders images/train|validation/<emotion>/N.jpg",
        find=fer2013_folders.find_validated,
        read=fer2013_folders.read_validated,
        protocol="folders",
        cached=False,
    ),
)


def identify(path, *, protocol=None):
    """Return the `Form` of what lies at `path`, and the paths to read.

    Args:
        path: a file or a folder.
        protocol: where several forms lie at `path`, take one that gives this protocol, if there is one.

    Raises:
        DataError: if nothing lies there, or nothing of a known form.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path}: Expected data here. Received: no such file or folder. Check the path.")
    for form in sorted(FORMS, key=lambda form: form.protocol != protocol):
        found = form.find(path)
        if found:
            return form, found
    known = "".join(f"\n  - {form.layout}" for form in FORMS)
    raise DataError(
        f"{path}: Expected one of the following. Received: {describe(path)}.{known}\n"
        "For folders of your own classes use fer_keras.data.load_folder(path), for CK+48 load_ckplus, for RAF-DB "
        "load_rafdb."
    )


def describe(path):
    """Return in a few words what lies at `path`."""
    if path.is_file():
        return "a file of another kind"
    names = sorted(item.name for item in path.iterdir())
    return f"a folder with {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else "an empty folder"
