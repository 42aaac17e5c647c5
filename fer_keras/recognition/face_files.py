"""A data set of faces on disk: Parquet files, each whole, each of one part of the pictures, written once."""

import json
import uuid
from collections import Counter
from pathlib import Path

from fer_keras.data.dataset import DataError
from fer_keras.paths import write_whole
from fer_keras.recognition.folders import COLUMNS, as_table, recognize_each, rows
from fer_keras.recognition.picture_parts import FILES, ROWS
from fer_keras.recognition.picture_tables import PARQUET

ABOUT = "_fer_keras.json"  # readers of Parquet skip names that begin like this
TRIES = 2
DEADLY = "Expected a picture that can be read. Received: one at which the process that reads it ends."


def begin(folder, settings, size):
    """Say on disk that a run begins, or goes on; return its name and of how many pictures its parts are.

    From then on, the workers of an earlier run, which may outlive it for a moment, write nothing any more.

    Args:
        folder: `pathlib.Path` of the data set; made if it is not there.
        settings: dict of plain values that every run on this folder must share.
        size: int, for a new data set; one that was begun keeps its own.

    Raises:
        DataError: if the folder holds faces that other settings gave, or something else.
    """
    file = folder / ABOUT
    if file.is_file():
        about = read_about(folder)
        other = [name for name in settings if about.get("settings", {}).get(name) != settings[name]]
        if other:
            was = {name: about.get("settings", {}).get(name) for name in other}
            now = {name: settings[name] for name in other}
            raise DataError(
                f"{folder}: Expected the settings with which its faces were found, {was}. Received: {now}. "
                "Choose another folder for the faces, or remove this one."
            )
        size = about["pictures a part"]
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: Expected a new or empty folder for the faces. Received: one with files in it.")
    run = uuid.uuid4().hex
    write_whole(file, json.dumps({"settings": settings, "pictures a part": size, "run": run}, indent=1) + "\n")
    for left in folder.glob(f".*{PARQUET}.*"):  # by workers that were killed, half written or a journal
        left.unlink(missing_ok=True)
    return run, size


def read_about(folder):
    """Return what is said on disk of the data set."""
    file = folder / ABOUT
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: Expected what fer_keras wrote there. Received: {error}.") from error


def done(folder):
    """Return what is done: a dict of the `targets`, names of the files of faces, and the `names` of picture files."""
    from pyarrow import parquet

    targets = {file.name for file in folder.glob(f"*{PARQUET}") if file.name.startswith((FILES, ROWS))}
    names = set()
    for target in targets:
        if target.startswith(FILES):
            names.update(parquet.read_table(folder / target, columns=["picture"]).column(0).unique().to_pylist())
    return {"targets": targets, "names": names}


def write_faces(part, recognizer, folder, run):
    """Find the faces of a part of the pictures and write them to a file, unless they are there.

    Args:
        part: a `picture_parts.Files` or `Rows`.
        recognizer: a `Recognizer`.
        folder: `pathlib.Path` of the data set.
        run: name of the run, as `begin` returned it.

    Returns:
        How many pictures, faces and pictures that cannot be read the file holds, as `count` returns them.

    Raises:
        DataError: if another run has begun on the folder.
    """
    from pyarrow import BufferOutputStream, Table, parquet

    target = folder / part.target
    if not target.exists():
        journal = folder / f".{part.target}.journal"
        found = recognize_each(survivors(part.pictures(), journal), recognizer)
        table = as_table((row for each in found for row in rows(*each)), recognizer.classes)
        table = Table.from_pandas(table, schema=schema(recognizer.classes), preserve_index=False)
        parquet.write_table(table, stream := BufferOutputStream(), compression="zstd")
        if read_about(folder)["run"] != run:
            raise DataError(f"{folder}: Expected one run at a time. Received: another one has begun on this folder.")
        write_whole(target, stream.getvalue())
        journal.unlink(missing_ok=True)
    return count(target)


def survivors(pictures, journal):
    """Yield `(name, source)` of pictures; the source of one at which two workers have died is a `DataError`.

    Damage that decoders do not see, and pictures that need more memory than there is, end a process without a word, and
    the engine tries the part again.

    Args:
        pictures: iterable of `(name, source)`.
        journal: `pathlib.Path` of a file that says how far earlier tries of these pictures came; it is gone on with.
    """
    tries = journal.read_text().split("begin\n") if journal.is_file() else []
    last = Counter(each.split()[-1] for each in tries if each)
    with journal.open("a", buffering=1) as file:
        file.write("begin\n")
        for number, (name, source) in enumerate(pictures):
            file.write(f"{number}\n")
            yield name, DataError(DEADLY) if last[str(number)] >= TRIES else source


def schema(classes):
    """Return the `pyarrow.Schema` of a table of faces: that of `as_table`, whatever columns are empty."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(name, kinds[kind]) for name, kind in {**COLUMNS, **dict.fromkeys(classes, float)}.items()])


def count(path):
    """Return a dict of how many pictures, faces, and pictures that cannot be read, a file or folder of faces holds."""
    from pyarrow import parquet

    faces = parquet.read_table(path, columns=["face"]).column(0)
    unreadable, nobody = faces.null_count, faces.to_pylist().count(0)
    first = faces.to_pylist().count(1)
    return {"pictures": unreadable + nobody + first, "faces": len(faces) - unreadable - nobody, "errors": unreadable}


def folder_of(path):
    """Return the absolute path of a folder for faces; a `DataError` if it is a file."""
    folder = Path(path).resolve()
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{path}: Expected a folder for the faces. Received: a file.")
    return folder
