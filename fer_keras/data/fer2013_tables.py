"""FER-2013 as tables: fer2013.csv, icml_face_data.csv, the challenge's train.csv, and Parquet files with FER+ votes."""

import dataclasses
import numbers
from pathlib import Path

import numpy as np

from fer_keras.data.class_folders import SIDE, is_folder, scan
from fer_keras.data.dataset import DataError, assemble
from fer_keras.data.images import decode
from fer_keras.labels import FER7, FERPLUS_VOTES, NUM_IMAGES, NUM_TRAINING, USAGE_TO_SPLIT
from fer_keras.names import import_part

COLUMNS = ("emotion", "pixels", "Usage")
CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
CHALLENGE_NAMES = ("train.csv", "test.csv")
VOTES_NAME = "fer2013new.csv"
PARQUET_NAMES = tuple(f"fer2013-{usage.lower()}.parquet" for usage in USAGE_TO_SPLIT)
PARQUET_COLUMNS = ("row", "Usage", "emotion", "png")
VOTES = [f"ferplus_{name}" for name in FERPLUS_VOTES]
TAGGERS = 10  # people who voted on each image
LABELS = {str(label).encode(): label for label in range(len(FER7))}
BLANKS = b' "\t\r\n'  # around a field


def files_named(folder, names):
    """The files in a folder, or else up to two levels below, that have the first of some names that any has."""
    level = [folder] if folder.is_dir() else []
    for _ in range(3):
        items = [item for each in level for item in scan(each)]
        found = [Path(item.path) for item in items if item.name.lower() in names]
        found = sorted(file for file in found if file.is_file())
        for name in names if found else ():
            if files := [file for file in found if file.name.lower() == name]:
                return files
        level = [item.path for item in items if is_folder(item)]
    return []


def find_csv(path):
    """The CSV at or in a path, with the FER+ votes that lie beside it; None if there is none with more than labels."""
    files = [path] if path.is_file() and path.suffix.lower() == ".csv" else files_named(path, CSV_NAMES)
    files = [file for file in files if not lacks_usage(file)]
    if len(files) > 1:
        raise DataError(f"{path}: Expected one data set. Received: {files[0]} and {files[1]}. Pass one of them.")
    beside = files_named(files[0].parent, [VOTES_NAME]) if files else []
    return (*files, *(item for item in beside if item.parent == files[0].parent and item not in files)) or None


def find_challenge(path):
    """The CSV without Usage at a path, or the challenge's train.csv (or else another) in it; None if there is none."""
    files = [path] if path.is_file() else files_named(path, (CHALLENGE_NAMES[0], *CSV_NAMES, CHALLENGE_NAMES[1]))
    return next(((file,) for file in files if file.suffix.lower() == ".csv" and lacks_usage(file)), None)


def lacks_usage(file):
    """True if a CSV has pixels, and nothing that could be a misspelt Usage."""
    names = header_of(file)
    return "pixels" in names and set(names) <= {"", *COLUMNS[:2]}


def header_of(file):
    """The names in a CSV's header; none if it is not text."""
    try:
        with open(file, "rb") as stream:
            return read_header(stream, file, ())[0]
    except DataError:
        return []


def read_header(stream, file, columns):
    """The names in the first line of a CSV, and the place of each of `columns` among them."""
    header = stream.readline(10_000)  # a binary file may hold no newline at all
    try:
        names = [name.strip(BLANKS).decode() for name in header.removeprefix(b"\xef\xbb\xbf").split(b",")]
    except UnicodeDecodeError as error:
        expected = f"Expected UTF-8 text with a header of {','.join(columns)}"
        raise DataError(f"{file}: {expected}. Received: compressed or binary, first {header[:8]!r}.") from error
    if missing := [name for name in columns if names.count(name) != 1]:
        mark = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
        advice = f"Separate fields by commas, not by {mark!r}" if mark else f"Add or rename {', '.join(missing)}"
        received = f"{','.join(names)[:80] or 'an empty file or line'}. {advice}"
        raise DataError(f"{file}, line 1: Expected the columns {','.join(columns)}, each once. Received: {received}.")
    return names, [names.index(name) for name in columns]


def read_rows(file, columns, parse, problems):
    """Yield the number of each line below a CSV's header and `parse(fields in columns)`, None where that is wrong."""
    with open(file, "rb") as stream:
        names, places = read_header(stream, file, columns)
        for number, line in enumerate(stream, start=2):
            if line.isspace():
                continue
            row = None
            try:
                fields = line.split(b",")
                line.decode()
                if len(fields) != len(names):
                    raise DataError(f"Expected {len(names)} fields. Received: {len(fields)}: is its end missing?")
                *others, last = fields[-1].split() or [b""]
                is_open = fields[-1].count(b'"') % 2 or (others and last.isdigit() and len(last) < 3)
                if is_open and not line.endswith(b"\n"):  # the number may go on
                    received = f"none after {shown(last)}. Add it if that number is whole"
                    raise DataError(f"Expected a line break at the end of the file. Received: {received}.")
                row = parse([fields[place].strip(BLANKS) for place in places])
            except UnicodeDecodeError as error:
                received = f"byte {line[error.start]:#04x} at {error.start}"
                problems.add(file, f"line {number}", f"Expected UTF-8 text. Received: {received}.")
            except DataError as error:
                problems.add(file, f"line {number}", str(error))
            yield number, row


def shown(field):
    """The beginning of a field for an error message, whatever its bytes."""
    return repr(field[:20].decode("utf-8", "backslashreplace"))


def read_challenge(files, problems):
    """The `FaceDataset` of the challenge's train.csv, in a split of our own, which `source` describes."""
    if "emotion" not in header_of(files[0]):
        received = "no emotion, as in the challenge's test.csv. Pass its train.csv, or icml_face_data.csv"
        raise DataError(f"{files[0]}, line 1: Expected the columns emotion,pixels. Received: {received}.")
    faces = parse_csv(files[0], COLUMNS[:2], problems).resplit(seed=0)
    is_whole = len(faces) + len(faces.skipped) in (NUM_TRAINING, NUM_IMAGES)
    source = faces.source if is_whole else faces.source.replace("FER-2013, CSV", f"CSV {files[0].name}")
    drawn = "no Usage: split 80/10/10 by class, copies kept together (seed 0)"
    return dataclasses.replace(faces, source=f"{source}, {drawn}")


def parse_csv(file, columns, problems, **about):
    """The `FaceDataset` of a CSV that has `columns`, `rows` counted from 0 below the header."""
    rows = [(*row, number - 2) for number, row in read_rows(file, columns, parse_row, problems) if row]
    images, kept = np.array([row[0] for row in rows]).reshape(-1, SIDE, SIDE), [row[1:] for row in rows]
    return assemble(images, kept, problems, at=file, source="FER-2013, CSV", classes=FER7, **about)


def parse_row(fields):
    """Pixels, label and split ("train" where there is no Usage) of the fields of a row."""
    emotion, pixels, *usage = fields
    if emotion not in LABELS:
        raise DataError(f"Expected an emotion in 0..{len(FER7) - 1}. Received: {shown(emotion)}.")
    return parse_pixels(pixels), LABELS[emotion], split_of(usage[0].decode()) if usage else "train"


def split_of(usage):
    """The split of a Usage; a `DataError` if a cell of a table holds none."""
    if not (isinstance(usage, str) and usage in USAGE_TO_SPLIT):
        raise DataError(f"Expected a Usage of {', '.join(USAGE_TO_SPLIT)}. Received: {str(usage)[:20]!r}.")
    return USAGE_TO_SPLIT[usage]


def parse_pixels(text):
    """The pixels uint8 `(2304,)` of one field of bytes."""
    # As Python writes them: a text as long as its numbers holds no leading zeros, and none too large for NumPy.
    if text and not text.translate(None, b"0123456789 ") and b"  " not in text:
        values = np.fromstring(text, np.uint16, sep=" ")
        digits = len(values) + np.count_nonzero(values > 9) + np.count_nonzero(values > 99)
        if len(values) == SIDE**2 and values.max() <= 255 and len(text) == digits + len(values) - 1:
            return values.astype(np.uint8)
    words = text.split()
    for word in words:
        if not (len(word) <= 3 and word.isdigit() and int(word) <= 255):
            raise DataError(f"Expected pixels in 0..255. Received: {shown(word)}.")
    if len(words) != SIDE**2:
        raise DataError(f"Expected {SIDE**2} pixels. Received: {len(words)}.")
    return np.array([int(word) for word in words], np.uint8)


def find_parquet(path):
    """The three Parquet files in a folder, or up to two levels below; None if they are not there together."""
    first = files_named(path, PARQUET_NAMES[:1])[:1]
    beside = {item.name.lower(): item for file in first for item in file.parent.iterdir() if item.is_file()}
    return tuple(beside[name] for name in PARQUET_NAMES) if set(PARQUET_NAMES) <= set(beside) else None


def read_parquet(files, problems):
    """The `FaceDataset` of the three files: official split, `rows` of fer2013.csv, FER+ votes where given."""
    tables = [read_table(file) for file in files]
    columns = [*PARQUET_COLUMNS, *(VOTES if all(set(VOTES) <= set(table.columns) for table in tables) else ())]
    images, kept, votes, seen = np.zeros((sum(map(len, tables)), SIDE, SIDE), np.uint8), [], [], set()
    for file, table, usage in zip(files, tables, USAGE_TO_SPLIT, strict=True):
        for index, cells in enumerate(zip(*(table[name] for name in columns), strict=True)):
            row, _, emotion, png, *counts = cells
            try:
                check_cells(usage, *cells)
                if row in seen:
                    raise DataError("Expected each row number once. Received: this one again.")
                if (pixels := decode(png)).shape != (SIDE, SIDE):
                    raise DataError(f"Expected {SIDE}x{SIDE} pixels. Received: {pixels.shape[0]}x{pixels.shape[1]}.")
                images[len(kept)] = pixels
                seen.add(int(row))
                kept.append((int(emotion), USAGE_TO_SPLIT[usage], int(row)))
                votes.append(counts)
            except DataError as error:
                where = f"row {row}" if is_whole(row, NUM_IMAGES) else f"row {index} of the file"
                problems.add(file, where, str(error))
    about = {"classes": FER7, "protocol": "official", "fer2013_rows": NUM_IMAGES, "source": "FER-2013, Parquet"}
    if len(columns) > len(PARQUET_COLUMNS):
        about |= {"source": "FER-2013, Parquet with FER+ votes", "votes": np.array(votes, np.float32)}
    return assemble(images, kept, problems, at=files[0].parent, **about)


def check_cells(usage, row, found, emotion, png, *votes):
    """Raise a `DataError` unless the cells of one row of a Parquet file are as they were published."""
    split_of(found)
    has_votes = not votes or (all(is_whole(vote, TAGGERS + 1) for vote in votes) and 0 < sum(votes) <= TAGGERS)
    for is_right, expected, received in (
        (found == usage, f"the Usage {usage} in this file", found),
        (is_whole(row, NUM_IMAGES), f"a row number in 0..{NUM_IMAGES - 1}", row),
        (is_whole(emotion, len(FER7)), f"an emotion in 0..{len(FER7) - 1}", emotion),
        (has_votes, f"1 to {TAGGERS} votes in all", votes),
        (isinstance(png, bytes), "the bytes of a PNG", type(png).__name__),
    ):
        if not is_right:
            raise DataError(f"Expected {expected}. Received: {str(received)[:80]}.")


def is_whole(value, end):
    """True if a cell of a table holds a whole number from 0 to below `end`."""
    return np.ndim(value) == 0 and isinstance(value, numbers.Real) and value in range(end)


def read_table(file):
    """One Parquet file as a `pandas.DataFrame`; a `DataError` says what is wrong with it as a whole."""
    import pandas as pd

    pyarrow = import_part("pyarrow")
    try:
        table = pd.read_parquet(file, engine="pyarrow")
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, pyarrow.ArrowException) as error:
        raise DataError(f"{file}: Expected a whole Parquet file. Received: {str(error)[:200]}") from error
    if missing := [name for name in PARQUET_COLUMNS if name not in table.columns]:
        received = f"{', '.join(map(str, table.columns))}, without {', '.join(missing)}"
        advice = "Pictures of other layouts are read from class folders: load_folder."
        raise DataError(f"{file}: Expected the columns {', '.join(PARQUET_COLUMNS)}. Received: {received}. {advice}")
    return table
