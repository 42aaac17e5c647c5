"""Folders full of pictures: a row for each face, in true batches; as a table, or printed, with copies and CSV."""

import collections
import contextlib
import csv
import itertools
import json
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fer_keras.data.archives import unpacked
from fer_keras.data.dataset import DataError
from fer_keras.paths import TABLES, as_path, check_writable, describe, unfinished
from fer_keras.recognition.annotate import FORMATS, MARK, write_faces
from fer_keras.recognition.photos import open_photo
from fer_keras.recognition.recognizer import Recognizer

if TYPE_CHECKING:
    import pandas as pd

MOST_FACES, MOST_PICTURES = 64, 256  # that wait for their batch
OK, NO_FACE = "ok", "no face"  # in the column `status`
# The columns of a table of faces and their kinds; the probability of each class, float, comes after them.
COLUMNS = {
    "picture": str, "status": str, "face": int, "left": int, "top": int, "width": int, "height": int,
    "emotion": str, "confidence": float, "detector_score": float, "error": str,
}  # fmt: skip
# Names of pictures that Pillow reads, and of others, which get a row that says that they cannot be read; none hidden.
is_photo = re.compile(
    r"(?ais)[^.].*\.(apng|arw|avifs?|bmp|bw|cr[23]|dds|dib|dng|emf|eps|gif|hei[cf]|hif|icb|icns|ico|j2[ck]|jfif|jpeg|"
    r"jp[2cefgx]|jxl|mpo|nef|orf|p[bgnp]m|pcx|pfm|png|ps[bd]|qoi|raf|ras|rgba?|rw2|sgi|svg|tga|tiff?|vda|vst|webp|wmf)"
).fullmatch
Picture = collections.namedtuple("Picture", "name file copy is_given")


def recognize_folder(path: str | os.PathLike, **options: Any) -> "pd.DataFrame":
    """Recognise the faces in all pictures of a folder and its sub-folders; millions are for `recognize_on_ray`.

    Args:
        path: the folder, or a `.zip` of one. Links to folders are followed; hidden ones and `__MACOSX` are left out.
        options: as for `recognize`: `network`, `classes`, `detector`, `min_confidence`, `min_size`, `mirrored`.

    Returns:
        A `pandas.DataFrame`, in the order in which people sort names: `picture` (its path below the folder), `status`
        ("ok", "no face" or "error"), `face` (from 1, the surest first; 0 for none), `left`, `top`, `width` and `height`
        in pixels, `emotion`, `confidence`, `detector_score`, `error` (why), and the probability of each class.

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
    path = as_path(path, "the path of a folder of pictures, or of a .zip of one")
    is_zip = path.suffix.lower() == ".zip" and os.path.isfile(path)
    with unpacked(path) if is_zip else contextlib.nullcontext(path) as folder:
        found = walk(folder, without) if (is_folder := os.path.isdir(folder)) else ()
        if not (names := sorted(found, key=lambda name: [*map(as_sorted, Path(name).parts)])):
            what = "none in it" if is_folder else describe(path)
            raise DataError(f"{path}: Expected a folder of pictures (PNG, ...), or a .zip of one. Received: {what}.")
        yield [(name, folder / name) for name in names]


def walk(folder, without=None, wanted=is_photo) -> Iterator[str]:
    """Yield the names of `wanted` files below a folder, sorted, each folder once; not of hidden ones, nor `without`."""
    words = "{0.filename}: Expected a folder that can be read. Received: {0.strerror}. It is left out."
    roots, seen = [folder], {os.path.realpath(without)} - {os.path.realpath(folder)} if without else set()
    for root in roots:  # links follow at the end, so that a folder is called by its own name if it has one here
        for place, folders, names in os.walk(root, onerror=lambda e: warnings.warn(words.format(e), stacklevel=2)):
            is_new = (real := os.path.realpath(place)) not in seen
            seen.add(real)
            folders[:] = sorted(name for name in folders if is_new and name[0] != "." and name != "__MACOSX")
            roots += filter(os.path.islink, (os.path.join(place, name) for name in folders))
            below = Path(place).relative_to(folder)
            yield from ((below / name).as_posix() for name in sorted(names) if is_new and wanted(name))


def as_sorted(name):
    """A key that sorts names as people do: 2 before 10, whatever their case."""
    parts = enumerate(re.split(r"([0-9]+)", Path(name).stem))
    return [int(part) if number % 2 else part.casefold() for number, part in parts], name


def recognize_each(pictures: Iterable, recognizer: Recognizer) -> Iterator[tuple]:
    """Yield `(name, faces, error)` of each `(name, source)`: its `Face`s and None, or None and why it is unreadable."""
    pictures, waiting = iter(pictures), True
    while waiting:
        waiting, num_faces = [], 0
        for name, source in pictures:
            try:
                if isinstance(source, DataError):  # it could not be read before
                    raise source
                waiting.append((name, recognizer.see(source), None))
                num_faces += len(waiting[-1][1].detections)
            except (ValueError, OSError) as fault:
                waiting.append((name, None, str(fault)))
            if num_faces >= MOST_FACES or len(waiting) >= MOST_PICTURES:
                break
        faces = iter(recognizer.recognize_seen([seen for _, seen, _ in waiting if seen is not None]))
        yield from ((name, None if seen is None else next(faces), error) for name, seen, error in waiting)


def rows(name: str, faces: list | None, error: str | None) -> list[dict]:
    """The rows of one picture: dicts of the columns that have a value."""
    places = enumerate(faces or (), 1)
    found = [face_row(face) | {"face": number, "detector_score": face.detector_score} for number, face in places]
    none = {"status": NO_FACE, "face": 0} if error is None else {"status": "error", "error": as_text(error)}
    return [{"picture": as_text(name), **row} for row in found or [none]]


def face_row(face):
    """What tables of pictures and of videos hold of a face."""
    place = dict(zip(("left", "top", "width", "height"), face.box, strict=True))
    return {"status": OK, **place, "emotion": face.emotion, "confidence": face.confidence, **face.probabilities}


def as_text(name: str) -> str:
    """A name that tables can hold: bytes that are no text, which file systems allow in names, are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def all_columns(columns: dict, classes: tuple) -> dict:
    """Columns of a table and their kinds, with those of the classes, whose names must be others."""
    if taken := columns.keys() & set(classes):
        raise ValueError(f"Expected classes that are no columns of the table. Received: {min(taken)!r}. Rename it.")
    return columns | dict.fromkeys(classes, float)


def as_table(found: Iterable[dict], classes: tuple):
    """Make a `pandas.DataFrame` of rows, with all columns in order."""
    import pandas as pd

    kinds = all_columns(COLUMNS, classes)
    table = pd.DataFrame([[row.get(name) for name in kinds] for row in found], columns=list(kinds))
    return table.astype({name: {int: "Int64", float: float, str: object}[kind] for name, kind in kinds.items()})


@contextlib.contextmanager
def table_file(path: Path, columns: Collection[str], *, digits: int = 4):
    """Yield a function that writes rows into a CSV file; a stop or a full disk leaves it as `NAME.partial.csv`."""
    with unfinished(path) as beside, beside.open("w", buffering=1, newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, columns, lineterminator="\n")

        def write(found):
            if not file.tell():  # without a row, nothing is left
                lines.writeheader()
            for row in found:
                lines.writerow({name: f"{x:.{digits}f}" if isinstance(x, float) else x for name, x in row.items()})

        yield write
        write(())


def list_faces(paths: list, *, out=None, csv=None, bars=False, as_json=False, **options) -> int:
    """Print the faces in pictures, folders and zips, copy pictures into `out`, write a table; give the exit status."""
    if "" in (*paths, out, csv):
        raise ValueError("Expected the path of a file or a folder. Received: an empty one.")
    with contextlib.ExitStack() as stack:
        pictures, status = find_pictures(paths, out, csv, stack)
        recognizer = Recognizer(**options)
        write = stack.enter_context(table_file(Path(csv), all_columns(COLUMNS, recognizer.classes))) if csv else None
        bar = pictures if sys.stdout and sys.stdout.isatty() else progress(pictures, unit=" pictures")
        for picture, faces, error in recognize_each(((each, each.file) for each in bar), recognizer):
            lines, faults = [], [] if error is None else [error]
            status = 2 if faults and picture.is_given else status
            if as_json:
                found = faces and [*map(vars, faces)]
                lines = [json.dumps({"picture": picture.name, "faces": found, "error": error})]
            elif error is None:
                for number, face in enumerate(faces, 1):
                    guess = max(face.probabilities, key=face.probabilities.get)
                    words = face.emotion if guess == face.emotion else f"{face.emotion} {guess}?"
                    place = "{2}x{3} at ({0}, {1})".format(*face.box)
                    lines.append(f"{picture.name}: face {number} {words} {face.confidence:.2f}, {place}")
                lines = lines or [f"{picture.name}: {NO_FACE}"]
            if write:
                write(rows(picture.name, faces, error))
            try:
                if error is None and out:
                    write_faces(open_photo(picture.file), faces, picture.copy, bars=bars)
            except (ValueError, OSError) as fault:
                faults.append(f"{picture.copy}: {fault}" if isinstance(fault, OSError) else str(fault))
                status = 2
            show(lines, sys.stdout, go_on=csv or out)
            show([f"error: {fault}" for fault in faults], sys.stderr, go_on=True)
    return status


def find_pictures(paths, out, csv, stack):
    """Find pictures, with files for their copies, numbered where a name is taken, and the status; check these files."""
    pictures, taken, status = [], {}, 0
    for path in map(Path, paths):
        is_given, found = not (os.path.isdir(path) or path.suffix.lower() == ".zip"), [(path.name, path)]
        try:
            found = found if is_given else stack.enter_context(pictures_at(path, without=out))
        except ValueError as error:
            show([f"error: {error}"], sys.stderr, go_on=True)
            found, status = [], 2
        for name, file in found:
            wanted, own = Path(out or "", name if Path(name).suffix.lower() in FORMATS else f"{name}.png"), (path, file)
            places = itertools.chain([wanted], (wanted.with_stem(f"{wanted.stem}-{n}") for n in itertools.count(2)))
            copy = next(place for place in places if taken.setdefault(str(place).casefold(), own) == own)
            pictures.append(Picture(str(path if is_given else path / name), file, copy, is_given))
    places = [*(picture.copy for picture in pictures if out), *([Path(csv)] if csv else [])]
    read = {os.path.realpath(each.file) for each in pictures}
    for place in places:
        is_there = os.path.isfile(place) and place.suffix.lower() in FORMATS
        if os.path.realpath(place) in read or (is_there and MARK not in place.read_bytes()):
            raise ValueError(f"{place}: Expected another --out or --csv: here is a picture, which would be lost.")
    for place in {place.parent: place for place in places}.values():
        check_writable(place)
    if csv:
        check_writable(csv, TABLES)
    return pictures, status


def show(lines, file, *, go_on):
    """Print lines, what no terminal can show as question marks; with `go_on`, in vain where the reader left."""
    try:
        for text in lines:
            print("".join(letter if letter.isprintable() else "?" for letter in text), file=file, flush=True)
    except BrokenPipeError:
        if not go_on:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
