"""The published forms of the data, and which of them lies at a path."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from fer_keras.data import archives, course_folders, fer2013_csv, fer2013_folders, fer2013_parquet
from fer_keras.data.dataset import DataError
from fer_keras.labels import FER4, FER7


@dataclasses.dataclass(frozen=True)
class Form:
    """One published form of the data.

    Args:
        name: a word for it, also used in the cache's file names.
        layout: what lies at the path, in words.
        find: function of a `Path` that returns what to read, as a tuple of paths, or None if it is not this form.
        read: function of those paths and a `Problems` that returns a `FaceDataset`.
        classes: the classes it gives; None if only reading tells.
        protocol: whose splits it gives; None if only reading tells.
        cached: whether it is kept in the cache; `find` must then return files.
    """

    name: str
    layout: str
    find: Callable
    read: Callable
    classes: tuple | None = FER7
    protocol: str | None = "official"
    cached: bool = True


def find_zip(path):
    """Return the file if `path` is a zip archive, else None."""
    return (path,) if path.is_file() and path.suffix.lower() == ".zip" else None


def read_zip(files, problems):
    """Return the `FaceDataset` of the one form that a zip archive holds; nothing is unpacked beside it."""
    (file,) = files
    with archives.unpacked(file) as folder:
        try:
            form, found = only_form(folder)
            faces = form.read(found, problems)
        except DataError as error:
            raise DataError(str(error).replace(str(folder), str(file))) from error
    return dataclasses.replace(faces, skipped=tuple(text.replace(str(folder), str(file)) for text in faces.skipped))


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
        layout=f"fer2013.csv or icml_face_data.csv (columns {','.join(fer2013_csv.COLUMNS)}), or a folder that holds "
        "one; the votes of FER+ are joined if fer2013new.csv lies beside it",
        find=fer2013_csv.find,
        read=fer2013_csv.read,
    ),
    Form(
        name="challenge-csv",
        layout="the challenge's train.csv (columns emotion,pixels), or a folder that holds it",
        find=fer2013_csv.find_challenge,
        read=fer2013_csv.read_challenge,
        protocol="own",
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
    Form(
        name="zip",
        layout="a zip archive of one of these",
        find=find_zip,
        read=read_zip,
        classes=None,
        protocol=None,
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
    found = recognise(path, protocol=protocol)
    if found:
        return found
    known = "".join(f"\n  - {form.layout}" for form in FORMS)
    raise DataError(
        f"{path}: Expected one of the following. Received: {describe(path)}.{known}\n"
        "For folders of your own classes use fer_keras.data.load_folder(path), for CK+48 load_ckplus, for RAF-DB "
        "load_rafdb."
    )


def recognise(path, *, protocol=None):
    """Return the `Form` of what lies at `path`, and the paths to read, or None if it is of no form."""
    for form in sorted(FORMS, key=lambda form: form.protocol != protocol):
        found = form.find(path)
        if found:
            return form, found
    return None


def only_form(folder):
    """Return the `Form` of what an archive unpacked to, and the paths to read.

    Raises:
        DataError: if there is none, or more than one: an archive's author gave no sign which is meant.
    """
    root, candidates = archives.root(folder), {}
    for place in (root, *archives.tables(root)):
        for form in FORMS:
            if found := form.find(place):
                candidates.setdefault(found, form)
    if len(candidates) > 1:  # train.csv is a part of icml_face_data.csv, which the challenge gave out beside it
        candidates = {found: form for found, form in candidates.items() if form.name != "challenge-csv"} or candidates
    if len(candidates) > 1:
        names = ", ".join(str(found[0].relative_to(folder)) for found in candidates)
        raise DataError(f"{folder}: Expected one data set in the archive. Received: {names}. Unpack it and pass one.")
    return next(((form, found) for found, form in candidates.items()), None) or identify(root)


def describe(path):
    """Return in a few words what lies at `path`."""
    if path.is_file():
        return "a file of another kind"
    names = sorted(item.name for item in path.iterdir())
    return f"a folder with {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else "an empty folder"
