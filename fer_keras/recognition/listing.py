"""The command `recognize`: pictures and folders in; lines for people, JSON, a table and named copies out."""

import contextlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from fer_keras.paths import write_whole
from fer_keras.recognition.annotating import WRITTEN, write_picture
from fer_keras.recognition.drawing import draw_faces
from fer_keras.recognition.folders import NO_FACE, as_table, pictures_at, recognize_each, rows
from fer_keras.recognition.photos import read_photo
from fer_keras.recognition.recognizer import Recognizer


class Picture(NamedTuple):
    """A picture to be recognised.

    Args:
        name: what it is called in all that is written.
        file: its `pathlib.Path`.
        place: where its copy goes, below the folder of copies.
        is_named: whether the user named it, rather than a folder that it lies in.
    """

    name: str
    file: Path
    place: Path
    is_named: bool


def list_faces(paths, *, out=None, csv=None, as_json=False, **options):
    """Print the faces in pictures, a line each, and write what else is asked for.

    Args:
        paths: list of pictures, folders, and zips of folders.
        out: folder for copies of the pictures with the named faces in them, or None.
        csv: file for the table that `recognize_folder` returns, or None.
        as_json: print a JSON object a picture, instead of lines for people.
        options: as for `Recognizer`.

    Returns:
        The exit status: 0; 2 if a path that was given cannot be read; 130 if the work was stopped, which keeps the
        table of what was done.

    Raises:
        ValueError: if something would be written over a picture; on other options, as `Recognizer`.
    """
    recognizer, done, status = Recognizer(**options), [], 0
    with contextlib.ExitStack() as stack:
        pictures = []
        for path in map(Path, paths):
            try:
                pictures += pictures_of(path, out, stack)
            except ValueError as error:
                status = fail(error)
        copies = copy_places(pictures, out) if out else {}
        refuse_losses(pictures, [*copies.values(), *([Path(csv)] if csv else [])])
        bar = tqdm(pictures, unit=" pictures", disable=True if sys.stdout.isatty() else None)
        try:
            for picture, faces, error in recognize_each(((each, each.file) for each in bar), recognizer):
                tell(picture.name, faces, error, as_json)
                done += rows(picture.name, faces, error) if csv else []
                if error is not None:
                    status = 2 if picture.is_named else status
                elif out:
                    status = write_copy(picture, faces, copies[picture]) or status
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            status = 130
    if csv:
        table = as_table(done, recognizer.classes).to_csv(index=False, float_format="%.4f", lineterminator="\n")
        write_whole(csv, table)
    return status


def pictures_of(path, out, stack):
    """Return the `Picture`s at a path; a zip stays unpacked for as long as `stack` lasts."""
    if not (path.is_dir() or path.suffix.lower() == ".zip"):
        return [Picture(str(path), path, Path(path.name), True)]
    inside = stack.enter_context(pictures_at(path, without=out))
    return [Picture(str(path / name), file, Path(name), False) for name, file in inside]


def copy_places(pictures, out):
    """Return a dict from each picture to the place of its copy: under its own name, numbered if that is taken."""
    places = {}
    taken = set()
    for picture in dict.fromkeys(pictures):
        place = picture.place if picture.place.suffix.lower() in WRITTEN else Path(f"{picture.place}.png")
        number, free = 1, place
        while str(free).casefold() in taken:
            number += 1
            free = place.with_stem(f"{place.stem}-{number}")
        taken.add(str(free).casefold())
        places[picture] = Path(out) / free
    return places


def refuse_losses(pictures, targets):
    """Raise a `ValueError` if one of the files to be written is a picture that was given."""
    given = {picture.file.resolve() for picture in pictures}
    for target in targets:
        if target.resolve() in given:
            raise ValueError(
                f"{printable(target)}: Expected other places for what is written than those of the pictures, which "
                "would be lost. Choose another --out or --csv."
            )


def write_copy(picture, faces, place):
    """Write a picture with its named faces; return 0, or the exit status of an error."""
    try:
        write_picture(draw_faces(read_photo(picture.file), faces), place)
    except ValueError as error:
        return fail(error)
    return 0


def tell(name, faces, error, as_json):
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


def fail(error):
    """Print an error to stderr; return the exit status that it leads to."""
    print(f"error: {printable(error)}", file=sys.stderr)
    return 2


def printable(text):
    """Return a text in which what a terminal would obey, or cannot show, is a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))
