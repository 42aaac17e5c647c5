"""`fer2013new.csv`: the FER+ votes, a row for each row of fer2013.csv, joined to faces that know their rows."""

import dataclasses
from pathlib import Path

import numpy as np

from fer_keras.data.csv_text import read_header, split_line, strip
from fer_keras.data.dataset import DataError, Problems
from fer_keras.labels import FERPLUS_VOTES, SPLITS, USAGE_TO_SPLIT

FILE = "fer2013new.csv"
COLUMNS = ("Usage", "Image name", *FERPLUS_VOTES)
TAGGERS = 10  # people who voted on each image
COUNTS = {str(votes).encode(): votes for votes in range(TAGGERS + 1)}
USAGES = {usage.encode(): SPLITS.index(split) for usage, split in USAGE_TO_SPLIT.items()}
UNREAD = len(SPLITS)  # in place of a split: a row that could not be read


def join_ferplus(faces, path, *, on_error="raise"):
    """Return the same faces with the votes of FER+.

    FER+ has no images: its rows are those of fer2013.csv, in its order. Its image names are not used: they number the
    rows only in part, and are empty where its authors removed an image.

    Reference: https://github.com/microsoft/FERPlus

    Args:
        faces: a `FaceDataset` whose `rows` are those of fer2013.csv (`fer2013_rows`).
        path: fer2013new.csv, or the folder that holds it.
        on_error: `"raise"` stops at the first bad row; `"skip"` gives its face no votes, and lists it in `.skipped`.

    Returns:
        A `FaceDataset` with `votes`, which `source` says.

    Raises:
        DataError: a `ValueError`, if the file is not what it should be, or does not belong to these faces.
    """
    file, problems = Path(path).expanduser(), Problems(on_error)
    file = file / FILE if file.is_dir() else file
    if not file.is_file():
        raise DataError(f"{file}: Expected the votes of FER+. Received: no such file. Check the path.")
    if not faces.fer2013_rows:
        raise DataError(
            f"{file}: Expected faces that know their rows in fer2013.csv, which FER+ follows. Received: "
            f"{faces.source}, whose pictures carry no row. Join the votes to fer2013.csv or icml_face_data.csv."
        )
    splits, votes = read_votes(file, problems)
    refuse_other_rows(file, faces, splits)
    return dataclasses.replace(
        faces,
        votes=votes[faces.rows],
        source=problems.describe(f"{faces.source} with FER+ votes of {FILE}"),
        skipped=(*faces.skipped, *problems.messages),
    )


def read_votes(file, problems):
    """Return the split of each row (its place in `SPLITS`), int `(n,)`, and its votes, float32 `(n, 10)`."""
    splits, votes = [], []
    with open(file, "rb") as stream:
        places = read_header(stream, file, COLUMNS)
        for number, line in enumerate(stream, start=2):
            if line.isspace():
                continue
            split, counts = UNREAD, [0] * len(FERPLUS_VOTES)
            try:
                split, counts = read_row(line, places)
            except DataError as error:
                problems.add(file, f"line {number}", str(error))
            splits.append(split)
            votes.append(counts)
    return np.array(splits, np.int64), np.array(votes, np.float32).reshape(-1, len(FERPLUS_VOTES))


def read_row(line, places):
    """Return the place of the split in `SPLITS`, and the ten votes, of one line of bytes."""
    usage, _, *columns, count = places
    fields = split_line(line, count)
    name = strip(fields[usage])
    if name not in USAGES:
        raise DataError(f"Expected a Usage of {', '.join(USAGE_TO_SPLIT)}. Received: {name[:20].decode()!r}.")
    words = [strip(fields[column]) for column in columns]
    wrong = next((word for word in words if word not in COUNTS), None)
    if wrong is not None:
        raise DataError(f"Expected votes in 0..{TAGGERS}. Received: {wrong[:20].decode()!r}.")
    votes = [COUNTS[word] for word in words]
    if not 0 < sum(votes) <= TAGGERS:
        raise DataError(f"Expected 1 to {TAGGERS} votes in a row. Received: {sum(votes)}.")
    return USAGES[name], votes


def refuse_other_rows(file, faces, splits):
    """Raise a `DataError` where the rows of the votes are not those of the faces."""
    if len(splits) != faces.fer2013_rows or faces.rows.max(initial=-1) >= len(splits):
        raise DataError(
            f"{file}: Expected {faces.fer2013_rows:,} rows, as many as the fer2013.csv of these faces has. Received: "
            f"{len(splits):,}. Take both files whole, as published, or move the votes away to go without."
        )
    if faces.protocol != "official":  # a split of its own says nothing of the row
        return
    found = splits[faces.rows]
    other = np.flatnonzero((found != UNREAD) & (np.array(SPLITS)[found % UNREAD] != faces.split))
    if len(other):
        row, split = faces.rows[other[0]], faces.split[other[0]]
        raise DataError(
            f"{file}, line {row + 2}: Expected the Usage that fer2013.csv has there, which gives {split}. Received: "
            f"{SPLITS[splits[row]]} ({len(other):,} such rows). Both files must be whole and in the published order."
        )
