"""FER-2013 as tables: fer2013.csv, icml_face_data.csv, the challenge's train.csv, and Parquet files with FER+ votes."""

import dataclasses
import itertools
import numbers
import os
from pathlib import Path

import numpy as np

from fer_keras.data.dataset import DataError, FaceDataset
from fer_keras.data.images import decode
from fer_keras.labels import FER7, FERPLUS_VOTES, NUM_IMAGES, USAGE_TO_SPLIT

COLUMNS = ("emotion", "pixels", "Usage")
CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
CHALLENGE_NAMES = ("train.csv", "test.csv")
VOTES_NAME = "fer2013new.csv"
PARQUET_NAMES = tuple(f"fer2013-{usage.lower()}.parquet" for usage in USAGE_TO_SPLIT)
PARQUET_COLUMNS = ("row", "Usage", "emotion", "png")
VOTES = [f"ferplus_{name}" for name in FERPLUS_VOTES]
TAGGERS = 10  # people who voted on each image
SIDE = 48
LABELS = {str(label).encode(): label for label in range(len(FER7))}
BATCH = 256  # rows parsed at once: what is computed from their text stays near the processor's cache
HEADER_LIMIT = 10_000  # bytes: a binary file may hold no newline at all


def files_named(folder, names):
    """The files in a folder, or else up to two levels below, that have the first of some names that any has."""
    level = [folder] if folder.is_dir() else []
    for _ in range(3):
        items = [item for each in level for item in os.scandir(each)]
        for name in names:
            if found := [item.path for item in items if item.name.lower() == name and item.is_file()]:
                return sorted(map(Path, found))
        level = [item.path for item in items if item.is_dir() and not item.name.startswith((".", "__"))]
    return []


def find_csv(path):
    """The CSV at or in a path, with the FER+ votes that lie beside it; None if there is none with more than labels."""
    if path.is_file():
        files = [path] if path.suffix.lower() == ".csv" and not lacks_usage(path) else []
    else:
        files = files_named(path, CSV_NAMES)
    if len(files) > 1:
        raise DataError(f"{path}: Expected one data set. Received: {files[0]} and {files[1]}. Pass one of them.")
    if not files:
        return None
    votes = [item for item in files_named(files[0].parent, [VOTES_NAME]) if item.parent == files[0].parent]
    return (*files, *votes) if votes != files else tuple(files)


def find_challenge(path):
    """The CSV without Usage at a path, or the challenge's train.csv (or else test.csv) in it; None if there is none."""
    files = [path] if path.is_file() else files_named(path, CHALLENGE_NAMES)
    files += files_named(path, CHALLENGE_NAMES[1:]) if files and not path.is_file() else []
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
    header = stream.readline(HEADER_LIMIT)
    try:
        names = [strip(name).decode() for name in header.removeprefix(b"\xef\xbb\xbf").split(b",")]
    except UnicodeDecodeError as error:
        expected = f"Expected UTF-8 text with a header of {','.join(columns)}"
        raise DataError(f"{file}: {expected}. Received: compressed or binary, first {header[:8]!r}.") from error
    if missing := [name for name in columns if names.count(name) != 1]:
        received = f"{','.join(names)[:80] or 'an empty file or line'}. Add or rename {', '.join(missing)}"
        raise DataError(f"{file}, line 1: Expected the columns {','.join(columns)}, each once. Received: {received}.")
    return names, [names.index(name) for name in columns]


def read_rows(file, columns, parse, problems):
    """Yield the number of each line below a CSV's header, and what `parse` makes of its fields in `columns`, as bytes.

    What is wrong with a line, also by a `DataError` of `parse`, is left to `problems`; None is then yielded.
    """
    with open(file, "rb") as stream:
        names, places = read_header(stream, file, columns)
        for number, line in enumerate(stream, start=2):
            if line.isspace():
                continue
            row, fault = None, ""
            try:
                fields = line.split(b",")
                line.decode()
                if len(fields) != len(names):
                    raise DataError(f"Expected {len(names)} fields. Received: {len(fields)}: is its end missing?")
                *others, last = fields[-1].split() or [b""]
                is_open = fields[-1].count(b'"') % 2 or (others and last.isdigit() and len(last) < 3)
                if is_open and not line.endswith(b"\n"):  # the number may go on
                    expected = "Expected a line break at the end of the file, which may be cut inside its last number"
                    raise DataError(f"{expected}. Received: none after {shown(last)}. Add it if the file is whole.")
                row = parse([strip(fields[place]) for place in places])
            except UnicodeDecodeError as error:
                fault = f"Expected UTF-8 text. Received: byte {line[error.start]:#04x} at {error.start}."
            except DataError as error:
                fault = str(error)
            if fault:
                problems.add(file, f"line {number}", fault)
            yield number, row


def strip(field):
    """A field without the blanks and quotes around it."""
    return field.strip(b' "\t\r\n')


def shown(field):
    """The beginning of a field for an error message, whatever its bytes."""
    return repr(field[:20].decode("utf-8", "backslashreplace"))


def read_csv(files, problems):
    """The `FaceDataset` of a CSV with Usage: official split, `rows` counted from 0 below the header."""
    faces = FaceDataset(**parse_csv(files[0], COLUMNS, problems), protocol="official")
    return dataclasses.replace(faces, fer2013_rows=len(faces) + len(faces.skipped))


def read_challenge(files, problems):
    """The `FaceDataset` of the challenge's train.csv, in a split of our own, which `source` describes."""
    (file,) = files
    if "emotion" not in header_of(file):
        received = "no emotion, as in the challenge's test.csv. Pass its train.csv, or icml_face_data.csv"
        raise DataError(f"{file}, line 1: Expected the columns emotion,pixels. Received: {received}.")
    faces = FaceDataset(**parse_csv(file, COLUMNS[:2], problems)).resplit(seed=0)
    drawn = "no Usage: split 80/10/10 by class, copies kept together (seed 0)"
    return dataclasses.replace(faces, source=f"{faces.source}, {drawn}")


def parse_csv(file, columns, problems):
    """The fields of a `FaceDataset`, as a dictionary, from a CSV that has `columns`."""
    images, about = [], []
    rows = ((number, *row) for number, row in read_rows(file, columns, parse_row, problems) if row)
    while batch := list(itertools.islice(rows, BATCH)):
        pixels = parse_plain([text for *_, text in batch], SIDE * SIDE)
        for index, (number, label, split, text) in enumerate(batch):
            try:
                images.append(parse_pixels(text, SIDE * SIDE) if pixels is None else pixels[index])
                about.append((label, split, number - 2))
            except DataError as error:
                problems.add(file, f"line {number}", str(error))
    if not about:
        raise DataError(f"{file}: Expected rows below the header. Received: none that can be read.")
    labels, splits, numbers = map(np.array, zip(*about, strict=True))
    return {
        "images": np.array(images).reshape(-1, SIDE, SIDE, 1),
        "labels": labels,
        "split": splits.astype("<U10"),
        "classes": FER7,
        "source": problems.describe("FER-2013, CSV"),
        "rows": numbers,
        "skipped": tuple(problems.messages),
    }


def parse_row(fields):
    """Label, split ("train" where there is no Usage) and pixels, as text, of the fields of a row."""
    emotion, pixels, *usage = fields
    if emotion not in LABELS:
        raise DataError(f"Expected an emotion in 0..{len(FER7) - 1}. Received: {shown(emotion)}.")
    if usage and usage[0].decode() not in USAGE_TO_SPLIT:
        raise DataError(f"Expected a Usage of {', '.join(USAGE_TO_SPLIT)}. Received: {shown(usage[0])}.")
    return LABELS[emotion], USAGE_TO_SPLIT[usage[0].decode()] if usage else "train", pixels


def parse_pixels(text, num_pixels):
    """The pixels uint8 `(num_pixels,)` of one field of bytes; this is the meaning of the format."""
    words = text.split()
    wrong = next((word for word in words if not (len(word) <= 3 and word.isdigit() and int(word) <= 255)), None)
    if wrong is not None:
        raise DataError(f"Expected pixels in 0..255. Received: {shown(wrong)}.")
    if len(words) != num_pixels:
        raise DataError(f"Expected {num_pixels} pixels. Received: {len(words)}.")
    return np.array([int(word) for word in words], np.uint8)


def parse_plain(texts, num_pixels):
    """The pixels uint8 `(texts, num_pixels)`, or None unless all are numbers as Python writes them, one space between.

    That each text is as long as its numbers shows that none runs over to the next, has leading zeros, or is too large.
    """
    joined = b" ".join(texts)
    if joined.translate(None, b"0123456789 ") or b"  " in joined or joined != joined.strip():
        return None
    values = np.fromstring(joined, np.uint16, sep=" ")
    if len(values) != num_pixels * len(texts) or values.max() > 255:
        return None
    pixels = values.astype(np.uint8).reshape(len(texts), num_pixels)
    tens, hundreds = ([np.count_nonzero(row) for row in pixels > below] for below in (9, 99))
    lengths = [2 * num_pixels - 1 + ten + hundred for ten, hundred in zip(tens, hundreds, strict=True)]
    return pixels if lengths == [len(text) for text in texts] else None


def find_parquet(path):
    """The three Parquet files in a folder, or up to two levels below; None if they are not there together."""
    first, *others = PARQUET_NAMES
    files = files_named(path, [first])[:1]
    files += [item for name in others if files for item in files_named(path, [name])[:1]]
    together = len(files) == len(PARQUET_NAMES) and len({file.parent for file in files}) == 1
    return tuple(files) if together else None


def read_parquet(files, problems):
    """The `FaceDataset` of the three files: official split, `rows` of fer2013.csv, FER+ votes where given."""
    tables = [read_table(file) for file in files]
    columns = [*PARQUET_COLUMNS, *(VOTES if all(set(VOTES) <= set(table.columns) for table in tables) else ())]
    images, kept, seen = np.zeros((sum(map(len, tables)), SIDE, SIDE), np.uint8), [], set()
    for file, table, usage in zip(files, tables, USAGE_TO_SPLIT, strict=True):
        for index, cells in enumerate(zip(*(table[name] for name in columns), strict=True)):
            row, _, emotion, png, *votes = cells
            try:
                check_cells(usage, *cells)
                if row in seen:
                    raise DataError("Expected each row number once. Received: this one again.")
                if (pixels := decode(png)).shape != (SIDE, SIDE):
                    raise DataError(f"Expected {SIDE}x{SIDE} pixels. Received: {pixels.shape[0]}x{pixels.shape[1]}.")
                images[len(kept)] = pixels
                seen.add(int(row))
                kept.append((int(row), int(emotion), USAGE_TO_SPLIT[usage], votes))
            except DataError as error:
                where = f"row {row}" if is_whole(row, NUM_IMAGES) else f"row {index} of the file"
                problems.add(file, where, str(error))
    rows, labels, split, votes = zip(*kept, strict=True) if kept else ((), (), (), ())
    has_votes = len(columns) > len(PARQUET_COLUMNS)
    return FaceDataset(
        images=images[: len(kept), ..., None],
        labels=np.array(labels, np.int64),
        split=np.array(split, "<U10"),
        classes=FER7,
        source=problems.describe(f"FER-2013, Parquet{' with FER+ votes' if has_votes else ''}"),
        protocol="official",
        rows=np.array(rows, np.int64),
        votes=np.array(votes, np.float32).reshape(-1, len(VOTES)) if has_votes else None,
        skipped=tuple(problems.messages),
        fer2013_rows=NUM_IMAGES,
    )


def check_cells(usage, row, found, emotion, png, *votes):
    """Raise a `DataError` unless the cells of one row of a Parquet file are as they were published."""
    if not (isinstance(found, str) and found in USAGE_TO_SPLIT):
        raise DataError(f"Expected a Usage of {', '.join(USAGE_TO_SPLIT)}. Received: {str(found)[:20]!r}.")
    if found != usage:
        raise DataError(f"Expected the Usage {usage} in this file. Received: {found}.")
    if not is_whole(row, NUM_IMAGES):
        raise DataError(f"Expected a row number in 0..{NUM_IMAGES - 1}. Received: {str(row)[:20]}.")
    if not is_whole(emotion, len(FER7)):
        raise DataError(f"Expected an emotion in 0..{len(FER7) - 1}. Received: {str(emotion)[:20]}.")
    if votes and not (all(is_whole(vote, TAGGERS + 1) for vote in votes) and 0 < sum(votes) <= TAGGERS):
        raise DataError(f"Expected 1 to {TAGGERS} votes in all. Received: {', '.join(map(str, votes))[:80]}.")
    if not isinstance(png, bytes):
        raise DataError(f"Expected the bytes of a PNG. Received: {type(png).__name__}.")


def is_whole(value, end):
    """True if a cell of a table holds a whole number from 0 to below `end`."""
    return np.ndim(value) == 0 and isinstance(value, numbers.Real) and value in range(end)


def read_table(file):
    """One Parquet file as a `pandas.DataFrame`; a `DataError` says what is wrong with it as a whole."""
    import pandas as pd

    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("Reading Parquet needs pyarrow. Install it: pip install 'fer_keras[data]'") from error
    try:
        table = pd.read_parquet(file, engine="pyarrow")
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, pyarrow.ArrowException) as error:
        raise DataError(f"{file}: Expected a whole Parquet file. Received: {str(error)[:200]}") from error
    if missing := [name for name in PARQUET_COLUMNS if name not in table.columns]:
        received = f"{', '.join(map(str, table.columns))}, without {', '.join(missing)}"
        raise DataError(f"{file}: Expected the columns {', '.join(PARQUET_COLUMNS)}. Received: {received}.")
    return table
