"""Folders full of pictures: a row for each face, in true batches; as a table, or printed, with copies and CSV."""

import collections
import contextlib
import csv
import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fer_keras.data.archives import unpacked
from fer_keras.data.dataset import DataError
from fer_keras.data.images import SUFFIXES
from fer_keras.paths import check_writable
from fer_keras.recognition.annotate import FORMATS, write_faces
from fer_keras.recognition.photos import open_photo
from fer_keras.recognition.recognizer import Recognizer

if TYPE_CHECKING:
    import pandas as pd

MOST_FACES, MOST_PICTURES = 64, 256  # that wait for their batch
OK, NO_FACE, ERROR = "ok", "no face", "error"  # in the column `status`
# The columns of a table of faces and their kinds; the probability of each class, float, comes after them.
COLUMNS = {
    "picture": str, "status": str, "face": int, "left": int, "top": int, "width": int, "height": int,
    "emotion": str, "confidence": float, "detector_score": float, "error": str,
}  # fmt: skip
# The suffixes of pictures that Pillow reads, and of others, which get a row that says that they cannot be read.
PHOTOS = {
    *SUFFIXES, ".apng", ".avifs", ".bw", ".icb", ".icns", ".ico", ".j2c", ".j2k", ".jpc", ".jpf", ".jpx", ".mpo",
    ".pcx", ".pfm", ".psd", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".vda", ".vst",
    ".arw", ".cr2", ".cr3", ".dds", ".dng", ".emf", ".eps", ".heic", ".heif", ".hif", ".jxl", ".nef", ".orf", ".psb",
    ".raf", ".rw2", ".svg", ".wmf",
}  # fmt: skip
# A picture: its name in all that is written, its file, the place of its copy below the folder of copies, and whether
# the user gave its path, rather than a folder that it lies in.
Picture = collections.namedtuple("Picture", "name file place is_given")


def recognize_folder(path: str | os.PathLike, **options: Any) -> "pd.DataFrame":
    """Recognise the faces in all pictures of a folder and its sub-folders.

    Faces go through the network in batches across pictures, of which only the crops are kept until then; memory does
    not grow with their number, but for the table. A picture without a face has one row, of face 0 and the status "no
    face"; one that cannot be read has one with the status "error" and the reason in `error`, and the rest goes on. On
    a terminal, a bar shows progress. Millions of pictures are for `recognize_on_ray`.

    Args:
        path: the folder, or a `.zip` of one.
        options: as for `recognize`: `network`, `classes`, `detector`, `min_confidence`, `min_size`, `mirrored`.

    Returns:
        A `pandas.DataFrame`, in the order in which people sort names: `picture` (its path below the folder), `status`
        ("ok", "no face" or "error"), `face` (from 1, the surest first), `left`, `top`, `width` and `height` in pixels,
        `emotion`, `confidence`, `detector_score`, `error`, and one column for the probability of each class.

    Raises:
        DataError: if there is no such folder, there are no pictures in it, or the archive is unsafe.
    """
    with pictures_at(path) as pictures:
        recognizer = Recognizer(**options)
        found = recognize_each(progress(pictures, unit=" pictures"), recognizer)
        return as_table((row for each in found for row in rows(*each)), recognizer.classes)


def progress(*iterable, **options):
    """A bar on stderr if that is a terminal, none where there is no console."""
    return tqdm(*iterable, disable=None if sys.stderr else True, **options)


@contextlib.contextmanager
def pictures_at(path: str | os.PathLike, *, without=None):
    """Yield a list of `(name, file)` of the pictures in a folder or zip; `without` is a folder in it to leave out."""
    path = Path(path)
    with contextlib.ExitStack() as stack:
        if path.suffix.lower() == ".zip" and path.is_file():
            folder = stack.enter_context(unpacked(path))
        elif path.is_dir():
            folder = path
        else:
            what = "a file" if path.is_file() else "nothing there"
            raise DataError(f"{path}: Expected a folder of pictures, or a .zip of one. Received: {what}.")
        names = sorted(walk(folder, without), key=lambda name: [*map(as_sorted, Path(name).parts)])
        if not names:
            raise DataError(f"{path}: Expected pictures (PNG, JPEG, ...). Received: none, in no sub-folder either.")
        yield [(name, folder / name) for name in names]


def is_photo(path: Path) -> bool:
    """True if a path has a picture's name, of whatever kind; hidden files (`._1.jpg`) do not count."""
    return path.suffix.lower() in PHOTOS and not path.name.startswith(".")


def walk(folder, without=None, wanted=is_photo) -> Iterator[str]:
    """Yield the names, below a folder, of the files in it that are wanted, always in the same order.

    Hidden folders in it, what archives leave, and the folder `without` do not count. A sub-folder that cannot be read
    is left out with a warning. `wanted` is a function of a `pathlib.Path`.
    """

    def warn(error):
        words = f"{error.filename}: Expected a folder that can be read. Received: {error.strerror}. It is left out."
        warnings.warn(words, stacklevel=2)

    without = without and os.path.realpath(without)
    for place, folders, names in os.walk(folder, onerror=warn):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        if without:
            folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) != without]
        below = Path(place).relative_to(folder)
        yield from ((below / name).as_posix() for name in sorted(names) if wanted(Path(name)))


def as_sorted(name):
    """A key that sorts names as people do: 2 before 10, whatever their case."""
    parts = re.split(r"([0-9]+)", Path(name).stem)
    return [(int(part), "") if number % 2 else (0, part.casefold()) for number, part in enumerate(parts)], name


def recognize_each(pictures: Iterable, recognizer: Recognizer) -> Iterator[tuple]:
    """Yield `(name, faces, error)` of each picture, in order: its `Face`s and None, or None and why it is unreadable.

    `pictures` are pairs `(name, source)`; a source may be the error that kept it from being read.
    """
    waiting, num_faces = [], 0
    for name, source in pictures:
        try:
            if isinstance(source, DataError):
                raise source
            seen, error = recognizer.see(source), None
            num_faces += len(seen.detections)
        except (ValueError, OSError) as fault:
            seen, error = None, str(fault)
        waiting.append((name, seen, error))
        if num_faces >= MOST_FACES or len(waiting) >= MOST_PICTURES:
            yield from recognize_waiting(waiting, recognizer)
            waiting, num_faces = [], 0
    yield from recognize_waiting(waiting, recognizer)


def recognize_waiting(waiting, recognizer):
    """Yield `(name, faces, error)` of pictures whose faces were cut out, recognised in one batch."""
    faces = iter(recognizer.recognize_seen([seen for _, seen, _ in waiting if seen is not None]))
    yield from ((name, None if seen is None else next(faces), error) for name, seen, error in waiting)


def rows(name: str, faces: list | None, error: str | None) -> list[dict]:
    """The rows of one picture: dicts of the columns that have a value."""
    name = as_text(name)
    if error is not None:
        return [{"picture": name, "status": ERROR, "error": as_text(error)}]
    if not faces:
        return [{"picture": name, "status": NO_FACE, "face": 0}]
    return [
        {"picture": name, "face": number, "detector_score": face.detector_score, **face_row(face)}
        for number, face in enumerate(faces, 1)
    ]


def face_row(face):
    """What tables of pictures and of videos hold of a face."""
    place = dict(zip(("left", "top", "width", "height"), face.box, strict=True))
    return {"status": OK, **place, "emotion": face.emotion, "confidence": face.confidence, **face.probabilities}


def as_text(name: str) -> str:
    """A name that tables can hold: bytes that are no text, which file systems allow in names, are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def as_table(found: Iterable[dict], classes: tuple):
    """Make a `pandas.DataFrame` of rows, with all columns in order."""
    import pandas as pd

    kinds = {**COLUMNS, **dict.fromkeys(classes, float)}
    table = pd.DataFrame.from_records([[row.get(name) for name in kinds] for row in found], columns=list(kinds))
    return table.astype({name: {int: "Int64", float: float, str: object}[kind] for name, kind in kinds.items()})


@contextlib.contextmanager
def table_file(path: Path, columns: Iterable[str], *, digits: int = 4):
    """Yield a function that writes rows, dicts of the columns that have a value, into a CSV file.

    Until the context ends in good order it is called `NAME.partial.csv`: that is what a crash or a full disk leaves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial(path).open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, list(columns), lineterminator="\n")
        lines.writeheader()

        def write(found):
            for row in found:
                lines.writerow(
                    {name: f"{each:.{digits}f}" if isinstance(each, float) else each for name, each in row.items()}
                )
            file.flush()

        yield write
    os.replace(partial(path), path)


def partial(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


def list_faces(paths: list, *, out=None, csv=None, bars=False, as_json=False, **options) -> int:
    """Print the faces in pictures, a line each, and write what else is asked for.

    These are copies in the folder `out`, with bars too if asked for, and the table of `recognize_folder` in the file
    `csv`. Paths are pictures, folders, and zips of folders. Returned is the exit status: 0; 2 if a path that was given
    cannot be read, or a copy cannot be written; 130 if the work was stopped, which keeps the table of what was done.
    """
    with contextlib.ExitStack() as stack:
        pictures, status = [], 0
        for path in map(Path, paths):
            try:
                if path.is_dir() or path.suffix.lower() == ".zip":
                    inside = stack.enter_context(pictures_at(path, without=out))
                    pictures += [Picture(str(path / name), file, Path(name), False) for name, file in inside]
                else:
                    pictures.append(Picture(str(path), path, Path(path.name), True))
            except ValueError as error:
                status = fail(error)
        copies = copy_places(pictures, out) if out else {}
        check_targets(pictures, [*copies.values(), *([Path(csv)] if csv else [])])
        recognizer = Recognizer(**options)
        write = stack.enter_context(table_file(Path(csv), [*COLUMNS, *recognizer.classes])) if csv else None
        bar = progress(pictures, unit=" pictures", **({"disable": True} if sys.stdout and sys.stdout.isatty() else {}))
        try:
            for picture, faces, error in recognize_each(((each, each.file) for each in bar), recognizer):
                print_faces(picture.name, faces, error, as_json)
                if write:
                    write(rows(picture.name, faces, error))
                if error is not None:
                    status = 2 if picture.is_given else status
                elif out:
                    try:
                        write_faces(open_photo(picture.file), faces, copies[picture], bars=bars)
                    except (ValueError, OSError) as fault:
                        status = fail(fault if isinstance(fault, ValueError) else f"{copies[picture]}: {fault}")
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            status = 130
    return status


def copy_places(pictures, out):
    """Map each picture to the place of its copy: under its own name, numbered if that is taken."""
    places, taken = {}, set()
    for picture in dict.fromkeys(pictures):
        place = picture.place if picture.place.suffix.lower() in FORMATS else Path(f"{picture.place}.png")
        number, free = 1, place
        while str(free).casefold() in taken:
            number += 1
            free = place.with_stem(f"{place.stem}-{number}")
        taken.add(str(free).casefold())
        places[picture] = Path(out) / free
    return places


def check_targets(pictures, targets):
    """Raise a `ValueError` if a file to be written is a picture that was given, or cannot be written."""
    given = {os.path.realpath(picture.file) for picture in pictures}
    for target in targets:
        if os.path.realpath(target) in given:
            raise ValueError(
                f"{printable(target)}: Expected other places for what is written than those of the pictures, which "
                "would be lost. Choose another --out or --csv."
            )
    for target in {target.parent: target for target in targets}.values():
        check_writable(target)


def print_faces(name, faces, error, as_json):
    """Print what was found in a picture; what is wrong with it goes to stderr."""
    if error is not None:
        fail(error)
    if as_json:
        found = None if faces is None else [vars(face) for face in faces]
        print(json.dumps({"picture": name, "faces": found, "error": error}), flush=True)
    elif error is None:
        for number, face in enumerate(faces, 1):
            left, top, width, height = face.box
            guess = max(face.probabilities, key=face.probabilities.get)
            guess = "" if guess == face.emotion else f"{guess}? "
            where = f"{width}x{height} at ({left}, {top})"
            print(f"{printable(name)}: face {number} {face.emotion} {guess}{face.confidence:.2f}, {where}", flush=True)
        if not faces:
            print(f"{printable(name)}: {NO_FACE}", flush=True)


def fail(error) -> int:
    """Print an error to stderr; return the exit status that it leads to."""
    print(f"error: {printable(error)}", file=sys.stderr)
    return 2


def printable(text):
    """A text in which what a terminal would obey, or cannot show, is a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))
