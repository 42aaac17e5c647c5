"""`load_fer7`, `load_fer4`, `load_ferplus`, `load_faces`: recognise what lies at a path, and read it."""

import contextlib
import dataclasses
import hashlib
import os
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_keras import labels, paths
from fer_keras.data import archives, cache, ferplus, other_sets
from fer_keras.data import fer2013_folders as folders
from fer_keras.data import fer2013_tables as tables
from fer_keras.data.class_folders import given_path, load_folder, scan
from fer_keras.data.dataset import PROTOCOLS, DataError, FaceDataset, Problems, check_known, printable, say
from fer_keras.labels import FER4, FER7, FERPLUS8, NUM_IMAGES, SPLITS
from fer_keras.names import import_part

# fer2013.csv as the challenge published it; with its version, kagglehub finds an earlier download without a network.
KAGGLE = "deadskull7/fer2013/versions/1"
CACHED = "The cached FER-2013"
Source = str | os.PathLike | None  # of faces, as every loader takes it


class Layout(NamedTuple):
    """One published layout of FER-2013."""

    name: str  # also in the cache's file names
    description: str
    find: Callable  # function of a `Path`: a tuple of the paths to read, or None if it is not this layout
    read: Callable  # function of those paths and a `Problems`: a `FaceDataset`
    cached: bool = True  # then `find` gives files
    classes: tuple | None = FER7  # None if only reading tells, as with `protocol`, whose splits it gives
    protocol: str | None = "official"


def read_csv(files, problems):
    """The `FaceDataset` of a CSV with Usage, the official split, with the votes of FER+ if they lie beside it."""
    faces = tables.parse_csv(files[0], tables.COLUMNS, problems, protocol="official")
    faces = dataclasses.replace(faces, fer2013_rows=len(faces) + len(faces.skipped))
    return ferplus.join_ferplus(faces, files[1], on_error=problems.on_error) if files[1:] else faces


def read_archive(files, problems):
    """The `FaceDataset` of the one layout that an archive holds; nothing is unpacked beside it."""
    with archives.unpacked(files[0]) as folder:
        layout, found = only_layout(folder)
        return layout.read(found, problems)


LAYOUTS = (  # tried from the first to the last
    Layout("fer2013-parquet", f"a folder with {', '.join(tables.PARQUET_NAMES)}", tables.find_parquet,
           tables.read_parquet),
    Layout("fer2013-csv", f"fer2013.csv or icml_face_data.csv (columns {','.join(tables.COLUMNS)}), or a folder that "
           "holds one; the votes of FER+ are joined if fer2013new.csv lies beside it", tables.find_csv, read_csv),
    Layout("challenge-csv", "the challenge's train.csv (columns emotion,pixels), or a folder that holds it",
           tables.find_challenge, tables.read_challenge, protocol="own"),
    Layout("course-folders", f"the course's folders, train|validation|test/{'|'.join(sorted(FER4))}/N.jpg",
           partial(folders.find_trees, splits=SPLITS, classes=FER4),
           partial(folders.read_trees, protocol="course"), cached=False, classes=FER4, protocol="course"),
    Layout("fer2013-folders", "folders train|test/<emotion>/ with Training_N.jpg, PublicTest_N.jpg, PrivateTest_N.jpg",
           partial(folders.find_trees, splits=("train", "test"), named=True),
           partial(folders.read_trees, protocol="official"), cached=False),
    Layout("fer2013-unnamed-folders", "folders train|test/<emotion>/ of pictures with other names",
           partial(folders.find_trees, splits=("train", "test"), named=False),
           partial(folders.read_trees, protocol="own"), cached=False, protocol="own"),
    Layout("fer2013-validated-folders", "folders images/train|validation/<emotion>/N.jpg",
           partial(folders.find_trees, splits=("train", "validation")),
           partial(folders.read_trees, protocol="folders"), cached=False, protocol="folders"),
    Layout("ferplus-folders", "for load_ferplus, folders FER2013Train, FER2013Valid, FER2013Test of pictures and "
           "label.csv", ferplus.find_folders, ferplus.read_folders, cached=False, classes=FERPLUS8),
    Layout("archive", "an archive (.zip, .tar.gz) of one of these",
           archives.find_archive, read_archive, classes=None, protocol=None),
)  # fmt: skip


def recognise(path, *, protocol=None):
    """The `Layout` of what lies at a path and the paths to read, or None; one of that protocol if there is one."""
    ordered = sorted(LAYOUTS, key=lambda layout: layout.protocol != protocol)
    return next(((layout, found) for layout in ordered if (found := layout.find(path))), None)


def identify(path, *, protocol=None):
    """As `recognise`; a `DataError` that lists the layouts if nothing lies there, or nothing known."""
    if not path.exists():
        raise DataError(f"{path}: Expected data here. Received: no such file or folder. Check it, or FER_KERAS_DATA.")
    if found := recognise(path, protocol=protocol):
        return found
    if path.suffix.lower() == ".parquet" and path.is_file():
        tables.read_table(path)  # which names its columns if they are others
    names = sorted(item.name for item in scan(path, Problems())) if path.is_dir() else []
    held = "an empty folder" if path.is_dir() else "a file of another kind"
    held = f"a folder with {', '.join(names[:6])}{', ...' * (len(names) > 6)}" if names else held
    known = "".join(f"\n  - {layout.description}" for layout in LAYOUTS)
    advice = "For folders of your own classes use fer_keras.data.load_folder(path), for CK+48 load_ckplus, for RAF-DB"
    raise DataError(f"{path}: Expected one of the following. Received: {held}.{known}\n{advice} load_rafdb.")


def only_layout(folder):
    """As `identify`, of what an archive unpacked to; it must be one, as its author gave no sign which is meant."""
    root, candidates = folder, {}
    while len(inside := scan(root)) == 1 and inside[0].is_dir():
        root = Path(inside[0].path)
    files = (file for file in sorted(root.rglob("[!.]*.csv")) if file.is_file() and "__MACOSX" not in file.parts)
    headers = {file: tables.header_of(file) for file in files}
    faces = [file for file, names in headers.items() if "pixels" in names]
    faces = [file for file in faces if "emotion" in headers[file]] or faces or list(headers)[: len(headers) == 1]
    for place in (*faces, root):
        for layout in LAYOUTS if len(candidates) < 2 or place != root else ():
            if found := layout.find(place):
                candidates.setdefault(found, layout)
    # The challenge's train.csv is a part of icml_face_data.csv, which it gave out beside it.
    several = [(layout, found) for found, layout in candidates.items() if layout.name != "challenge-csv"]
    several = several or [(layout, found) for found, layout in candidates.items()]
    if len(several) > 1:
        names = ", ".join(str(found[0].relative_to(folder)) for _, found in several)
        raise DataError(f"{folder}: Expected one data set in the archive. Received: {names}. Unpack it and pass one.")
    return several[0] if several else identify(root)


def compare(faces):
    """The faces; if they call themselves FER-2013 and are not as published, `difference` and `source` say so."""
    if faces.protocol not in labels.PUBLISHED_COUNTS or faces.difference:
        return faces
    difference = labels.count_difference(faces.protocol, faces.counts().T.to_dict())
    is_course, least = faces.protocol == "course", labels.MIN_DISTINCT[faces.protocol]
    if not difference and len(set(map(zlib.crc32, faces.images))) < min(len(faces), least):
        difference = f"Expected {least:,} different images at least. Received: fewer"
    if not difference and faces.fer2013_rows == NUM_IMAGES and faces.protocol in labels.PUBLISHED_DIGESTS:
        order = np.argsort(faces.rows, kind="stable")
        rows = faces.rows[order]
        total = hashlib.sha256(rows.astype("<i8").tobytes() + faces.labels[order].astype("<i8").tobytes())
        total.update("".join(split[:2] for split in faces.split[order].tolist()).encode())
        if not is_course:
            total.update(faces.digests[order][~np.isin(rows, labels.JPEG_ROWS)].tobytes())
        digests = {faces.protocol: total.hexdigest()[:16]}
        if not is_course and faces.votes is not None:
            digests["votes"] = hashlib.sha256(faces.votes[order].astype("<f4").tobytes()).hexdigest()[:16]
        if not digests.items() <= labels.PUBLISHED_DIGESTS.items():
            difference = "the numbers of images are those published; labels, splits, order, votes or pixels are not"
    source = f"{faces.source}, not as published"
    return dataclasses.replace(faces, difference=difference, source=source) if difference else faces


def load_fer7(path: Source = None, *, protocol: str | None = None, on_error: str = "raise") -> FaceDataset:
    """Read the seven classes of FER-2013, with the split of what lies at the path.

    The challenge's split (Training, PublicTest, PrivateTest) is protocol `"official"`; some published layouts lack it,
    and then `.protocol` and `.source` say whose split it is. What differs from the published counts and digests stands
    in `.difference` and on stderr. The first read is kept in the user's cache, which makes the next one faster.

    Args:
        path: a file or folder in one of the published layouts. Without it: the environment variable `FER_KERAS_DATA`,
            else a copy in the cache, else a download from Kaggle.
        protocol: the split to insist on, one of `data.dataset.PROTOCOLS`; None takes what lies there.
        on_error: `"raise"` stops at the first bad row; `"skip"` leaves bad rows out and lists them in `.skipped`.
    """
    return read(path, FER7, protocol, on_error)[0].select(classes=FER7)


def load_fer4(path: Source = None, *, protocol: str | None = None, on_error: str = "raise") -> FaceDataset:
    """Read the four classes happy, sad, surprise and neutral.

    Args:
        path: as for `load_fer7`; also the course set's folders, or a folder with FER-2013 and `adsp_rows.csv`.
        protocol: `"official"`, preferred by None, keeps the split of FER-2013; `"course"` is a published course set
            that split the same images anew. Never mix them: it trains on test images of the official split.
        on_error: as for `load_fer7`.
    """
    faces, place = read(path, FER4, protocol, on_error)
    if protocol == "course" and faces.protocol == "official":
        rows = place / folders.COURSE_ROWS if place else None
        if rows is None or not rows.is_file():
            advice = f"Put {folders.COURSE_ROWS} beside it, the list of its rows, or ask for protocol='official'."
            where = given(path) or place or CACHED
            raise DataError(f"{where}: Expected the course set. Received: {faces.source}. {advice}")
        faces = announce(rows, compare(folders.course_of_rows(faces, rows)))
    return faces.select(classes=FER4)


def load_ferplus(
    path: Source = None, *, mode: str = "majority", classes: tuple[str, ...] = FERPLUS8, on_error: str = "raise"
) -> FaceDataset:
    """Read the faces that FER+ keeps, with the labels that its votes give, on the official split.

    Args:
        path: as for `load_fer7`: Parquet files, a CSV with fer2013new.csv beside it, or FER+'s own folders.
        mode: `"majority"` or `"probability"`, as for `ferplus_targets`, which makes targets of `.votes`.
        classes: the classes to keep, among `labels.FERPLUS8`; faces for which another wins are left out.
        on_error: as for `load_fer7`.
    """
    classes = check_known("class", classes, FERPLUS8)
    faces, place = read(path, (), "official", on_error)
    if faces.votes is None:
        where = given(path) or place or CACHED
        received = f"{faces.source}. Put fer2013new.csv (github.com/microsoft/FERPlus) beside it, and pass their folder"
        raise DataError(f"{where}: Expected FER-2013 with the votes of FER+. Received: {received}.")
    return ferplus.label_by_votes(faces, mode, classes)


def load_faces(path: Source = None, *, on_error: str = "raise") -> FaceDataset:
    """Read whatever faces lie at a path, as the other loaders do, with the classes and the split that they have.

    Folders that are not quite as they were published are read as anyone's own, which a line on stderr says.

    Args:
        path: FER-2013 or its course set in any layout, FER+, RAF-DB, CK+48, or class folders, also in an archive;
            without it as for `load_fer7`.
        on_error: as for `load_fer7`.
    """
    Problems(on_error)
    place, error = given(path), None
    layout, _ = (place and place.exists() and recognise(place)) or (None, None)
    may_be_own = not (layout.cached and layout.protocol) if layout else bool(place and place.is_dir())
    for how in dict.fromkeys(("raise", on_error)) if layout and may_be_own else (on_error,):
        if layout or not may_be_own:
            try:
                faces, _ = read(place, (), None, how)
                is_ferplus = faces.classes == FERPLUS8
                return ferplus.label_by_votes(faces, "majority", FERPLUS8) if is_ferplus else faces
            except DataError as raised:
                error = error or raised
                if not may_be_own:
                    raise
        with archives.unpacked(place) if archives.find_archive(place) else contextlib.nullcontext(place) as folder:
            kinds = ((other_sets.is_rafdb, other_sets.load_rafdb), (other_sets.is_ckplus, other_sets.load_ckplus))
            for load in (*(load for is_it, load in kinds if is_it(folder)), load_folder):
                try:
                    faces = load(folder, on_error=how)
                except DataError as raised:
                    error = error or DataError(printable(str(raised)))
                    continue
                if error:
                    say(f"{place}: not read as a published set. {str(error).splitlines()[0]}")
                return faces
    raise error


def read(path, classes, protocol, on_error):
    """The `FaceDataset` of what is found, and the folder its files lie in (None for the cache's own copy)."""
    check_known("protocol", [] if protocol is None else [protocol], PROTOCOLS)
    problems, place = Problems(on_error), given(path)
    if is_download := place is None:
        copies = [copy for name in cache.names(NUM_IMAGES) if (copy := cache.load(name)) is not None]
        copies = [copy for copy in copies if (copy.protocol, copy.classes, copy.difference) == ("official", FER7, "")]
        if copy := max(copies, key=lambda copy: copy.votes is not None, default=None):
            check_fits(CACHED, copy, copy.source, classes, protocol)
            return copy, None
        place = download()
    layout, found = identify(place, protocol=protocol)
    check_fits(place, layout, layout.description, classes, protocol)

    def parse():
        faces = compare(layout.read(found, problems))
        if is_download and faces.difference:
            raise DataError(f"{place}: Expected {KAGGLE} as published. Received: other images. {faces.difference}.")
        return faces

    try:
        faces = cache.cached(layout.name, found, parse) if layout.cached else parse()
    except OSError as error:
        raise DataError(f"{place}: Expected data that can be read. Received: {error}.") from error
    check_fits(place, faces, faces.source, classes, protocol)
    return announce(place, faces), found[0].parent


def announce(place, faces):
    """The faces; a split of our own, and data that is not as published, are named on stderr."""
    if faces.difference:
        say(f"{place}: this is not FER-2013 as it was published: {faces.difference}")
    elif faces.protocol == "own":
        say(f"{place}: {faces.source}")
    return faces


def check_fits(place, found, what, classes, protocol):
    """Raise a `DataError` unless what was found, a `Layout` or faces, has the classes and the split asked for."""
    if found.classes is None:  # an archive: once it is read, its faces are asked
        return
    if not set(classes) <= set(found.classes) or (classes and found.classes == FERPLUS8):
        received = f"{what}, which has {', '.join(found.classes)}"
        advice = "Use load_fer4 for the course set, load_ferplus for the votes of FER+."
        raise DataError(f"{place}: Expected the classes {', '.join(classes)}. Received: {received}. {advice}")
    can_be_made_of_rows = (protocol, classes, found.protocol) == ("course", FER4, "official")
    if protocol not in (None, found.protocol) and not can_be_made_of_rows:
        received = f"{what}, whose split is another ({found.protocol!r}). Ask for protocol={found.protocol!r}"
        raise DataError(f"{place}: Expected the {protocol} split. Received: {received}, or pass another path.")


def given(path):
    """A path, else what `FER_KERAS_DATA` says, else None."""
    return paths.asked("FER_KERAS_DATA") if path is None else given_path(path)


def download():
    """The folder of Kaggle's download, kept by `kagglehub`; the error that says the ways to get the data if none is."""
    try:
        return Path(import_part("kagglehub").dataset_download(KAGGLE))
    except Exception as error:  # kagglehub's exceptions have no base class of their own
        tried = f"Kaggle did not give {KAGGLE}: {type(error).__name__}: {str(error)[:200]}"
    layouts = "".join(f"\n       - {layout.description}" for layout in LAYOUTS)
    raise DataError(
        "FER-2013 is not here. Three ways to get it:\n"
        "  1. Set the environment variable FER_KERAS_DATA to where it lies.\n"
        "  2. Let kagglehub download it: pip install 'fer_keras[data]', be online, and log in to Kaggle "
        "(kagglehub.login(), or KAGGLE_API_TOKEN).\n"
        "  3. Pass its path: load_fer7(path), load_fer4(path), or --data PATH on the command line.\n"
        f"     A path may be{layouts}\nTried last: {tried}"
    )
