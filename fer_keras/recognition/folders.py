"""Folders full of pictures: a table with a row for each face, in true batches, at any number of pictures."""

import contextlib
import os
import re
from pathlib import Path

from tqdm import tqdm

from fer_keras.data.archives import unpacked
from fer_keras.data.dataset import DataError
from fer_keras.data.images import is_picture
from fer_keras.recognition.recognizer import Recognizer

MOST_FACES, MOST_PICTURES = 64, 256  # that wait for their batch
NO_FACE = "no face"
BEFORE = ("picture", "face", "left", "top", "width", "height", "emotion", "confidence")  # the classes' columns
AFTER = ("detector_score", "error")
WHOLE = ("face", "left", "top", "width", "height")


def recognize_folder(path, *, engine=None, out=None, address=None, workers=None, **options):
    """Return a table of the faces in all pictures of a folder and its sub-folders.

    Faces go through the network in batches across pictures, of which only the crops are kept until then; memory does
    not grow with their number, but for the table. A picture without a face has one row, of face 0 and "no face"; one
    that cannot be read has one with the reason in `error`, and the rest goes on. On a terminal, a bar shows progress.

    Millions of pictures are for the engine "ray" (`pip install "fer_keras[ray]"`): a worker a core, on this machine or
    on all of a cluster, and the same rows in Parquet files below `out`, in no particular order. There, pictures may
    also be rows of `.parquet` files: a column of their bytes, as Hugging Face's `datasets`, Ray and img2dataset write
    it, and one of their names. Called again after it was stopped or killed, it does what is left; nothing that is
    there is half written. On a cluster, every machine needs fer_keras in the same version, and `path` and `out` must
    be on a file system that all of them share.

    Args:
        path: the folder, or a `.zip` of one; with the engine "ray" a folder or a `.parquet` file.
        engine: None for this process, or "ray".
        out: the folder for the Parquet files of the engine "ray".
        address: of a Ray cluster that runs, as `ray.init` takes it; None starts one on this machine while it is needed.
        workers: how many processes work, one thread each; None is one for each core of the cluster.
        options: as for `recognize`: `network`, `classes`, `detector`, `min_confidence`, `min_size`, `mirrored`; with
            the engine "ray" names and paths only.

    Returns:
        A `pandas.DataFrame`, in the order in which people sort names: `picture` (its path below the folder), `face`
        (from 1, the surest first), `left`, `top`, `width` and `height` in pixels, `emotion`, `confidence`, one column
        for the probability of each class, `detector_score`, `error`. With the engine "ray", the `many.FaceFiles`:
        where such a table lies, and how much of it is new.

    Raises:
        DataError: if there is no such folder, there are no pictures in it, or the archive is unsafe; if `out` holds
            something else than faces that these options gave.
        ValueError: on other options, as `Recognizer`; if there is no such cluster, or a worker of it failed.
        ImportError: if Ray is asked for and not installed.
    """
    if engine not in (None, "ray"):
        raise ValueError(f"`engine` must be None or 'ray'. Received: {engine!r}.")
    if (engine is None) == (out is not None):
        raise ValueError("`out` is where the engine 'ray' writes, and it needs one. Received: one without the other.")
    if engine:
        from fer_keras.recognition.many import recognize_on_ray

        return recognize_on_ray(path, out=out, address=address, workers=workers, **options)
    if (address, workers) != (None, None):
        raise ValueError("`address` and `workers` are for the engine 'ray'. Received: one of them without it.")
    recognizer = Recognizer(**options)
    with pictures_at(path) as pictures:
        found = recognize_each(tqdm(pictures, unit=" pictures", disable=None), recognizer)
        return as_table((row for result in found for row in rows(*result)), recognizer.classes)


@contextlib.contextmanager
def pictures_at(path, *, without=None):
    """Give, while the context lasts, a list of `(name, file)` of the pictures in a folder or zip.

    Args:
        path: the folder, or a `.zip` of one.
        without: a folder in it that does not count, or None.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        if path.suffix.lower() == ".zip" and path.is_file():
            folder = stack.enter_context(unpacked(path))
        elif path.is_dir():
            folder = path
        else:
            what = "a file" if path.is_file() else "nothing there"
            raise DataError(f"{path}: Expected a folder of pictures, or a .zip of one. Received: {what}.")
        pictures = list_pictures(folder, without)
        if not pictures:
            raise DataError(f"{path}: Expected pictures (PNG, JPEG, ...). Received: none, in no sub-folder either.")
        yield [(file.relative_to(folder).as_posix(), file) for file in pictures]


def list_pictures(folder, without=None):
    """Return the pictures below a folder as people sort names; hidden ones and what archives leave do not count."""
    found = [Path(folder, name) for name in walk(folder, without)]
    return sorted(found, key=lambda file: [as_sorted(part) for part in file.relative_to(folder).parts])


def walk(folder, without=None, wanted=is_picture):
    """Yield the names, below a folder, of the files in it that are wanted, always in the same order.

    Args:
        folder: where to look; hidden folders in it and what archives leave do not count.
        without: a folder in it that does not count either, or None.
        wanted: function of a `pathlib.Path` that tells whether a file counts.
    """
    without = without and Path(without).resolve()
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        if without is not None:
            folders[:] = [name for name in folders if (Path(place) / name).resolve() != without]
        below = Path(place).relative_to(folder).as_posix()
        below = "" if below == "." else f"{below}/"
        yield from (f"{below}{name}" for name in sorted(names) if wanted(Path(name)))


def as_sorted(name):
    """Return a key that sorts names as people do: 2 before 10, whatever their case.

    Example:

    >>> sorted(["b10.png", "B2.png", "b.png"], key=as_sorted)
    ['b.png', 'B2.png', 'b10.png']
    """
    parts = re.split(r"([0-9]+)", Path(name).stem)
    return [(int(part), "") if number % 2 else (0, part.casefold()) for number, part in enumerate(parts)], name


def recognize_each(pictures, recognizer):
    """Yield `(name, faces, error)` of each picture, in order: its `Face`s and None, or None and why it is unreadable.

    Args:
        pictures: iterable of `(name, source)`; a source may be the error that kept it from being read.
        recognizer: a `Recognizer`.
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
            yield from named(waiting, recognizer)
            waiting, num_faces = [], 0
    yield from named(waiting, recognizer)


def named(waiting, recognizer):
    """Yield `(name, faces, error)` of pictures that were seen, named in one batch."""
    faces = iter(recognizer.name([seen for _, seen, _ in waiting if seen is not None]))
    for name, seen, error in waiting:
        yield name, None if seen is None else next(faces), error


def rows(name, faces, error):
    """Return the rows of one picture, dicts of the columns that have a value."""
    name = as_text(name)
    if error is not None:
        return [{"picture": name, "error": as_text(error)}]
    return [row(name, number, face) for number, face in enumerate(faces, 1)] or [
        {"picture": name, "face": 0, "emotion": NO_FACE}
    ]


def as_text(name):
    """Return a name that tables can hold: bytes that are no text, which file systems allow in names, are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def row(name, number, face):
    """Return the row of one face."""
    place = dict(zip(WHOLE[1:], face.box, strict=True))
    about = {"emotion": face.emotion, "confidence": face.confidence, "detector_score": face.detector_score}
    return {"picture": name, "face": number, **place, **about, **face.probabilities}


def as_table(found, classes):
    """Return rows as a `pandas.DataFrame` with all columns, in order."""
    import pandas as pd

    columns = [*BEFORE, *classes, *AFTER]
    table = pd.DataFrame.from_records([[row.get(name) for name in columns] for row in found], columns=columns)
    return table.astype(
        {name: "Int64" for name in WHOLE} | {name: float for name in ("confidence", *classes, AFTER[0])}
    )
