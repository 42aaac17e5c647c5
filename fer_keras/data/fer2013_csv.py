"""`fer2013.csv`, also published as `icml_face_data.csv`: a row a face, with the columns emotion, pixels (48x48 numbers
in one field) and Usage, in any order. The challenge's `train.csv` is the same without Usage."""

import dataclasses

import numpy as np

from fer_keras.data import ferplus
from fer_keras.data.csv_text import peek, read_header, split_line, strip
from fer_keras.data.dataset import DataError, FaceDataset
from fer_keras.data.pixel_text import parse_batch, parse_field
from fer_keras.labels import FER7, USAGE_TO_SPLIT

COLUMNS = ("emotion", "pixels", "Usage")
NAMES = ("fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv")
CHALLENGE_NAMES = ("train.csv", "test.csv")
LABELS = {str(label).encode(): label for label in range(len(FER7))}
USAGES = {usage.encode(): split for usage, split in USAGE_TO_SPLIT.items()}
SIDE = 48
BATCH = 256  # rows parsed at once: what is computed from their text stays near the processor's cache


def find(path):
    """Return the file if `path` is a CSV, or a folder that holds one; with the FER+ votes if they lie beside it.

    A CSV that has nothing but pixels and labels is left to `find_challenge`.
    """
    if path.is_file():
        file = path if path.suffix.lower() == ".csv" and not lacks_usage(path) else None
    else:
        file = next((path / name for name in NAMES if (path / name).is_file()), None)
    if file is None:
        return None
    votes = file.with_name(ferplus.FILE)
    return (file, votes) if votes.is_file() and votes != file else (file,)


def find_challenge(path):
    """Return the file if `path` is a CSV without Usage, or a folder that holds the challenge's train.csv."""
    candidates = [path] if path.is_file() else [path / name for name in CHALLENGE_NAMES]
    found = (file for file in candidates if file.suffix.lower() == ".csv" and file.is_file() and lacks_usage(file))
    return next(((file,) for file in found), None)


def lacks_usage(file):
    """Tell whether a CSV has pixels, and nothing that could be a misspelt Usage."""
    names = peek(file)
    return "pixels" in names and set(names) <= {"", *COLUMNS[:2]}


def read(files, problems):
    """Return a `FaceDataset` of one file: official split, `rows` counted from 0 below the header, votes if given."""
    file, *votes = files
    faces = FaceDataset(**parse(file, COLUMNS, problems), protocol="official")
    faces = dataclasses.replace(faces, fer2013_rows=len(faces) + len(faces.skipped))
    return ferplus.join_ferplus(faces, votes[0], on_error=problems.on_error) if votes else faces


def read_challenge(files, problems):
    """Return a `FaceDataset` of the challenge's train.csv, in a split of our own, which `source` describes."""
    (file,) = files
    if "emotion" not in peek(file):
        raise DataError(
            f"{file}, line 1: Expected the columns emotion,pixels. Received: no emotion, as in the challenge's "
            "test.csv, which has no labels. Pass its train.csv, or icml_face_data.csv, which has all faces and labels."
        )
    faces = FaceDataset(**parse(file, COLUMNS[:2], problems)).resplit(seed=0)
    drawn = "no Usage: split 80/10/10 by class, copies kept together (seed 0)"
    return dataclasses.replace(faces, source=f"{faces.source}, {drawn}")


def parse(file, columns, problems):
    """Return what a `FaceDataset` is made of, as a dictionary, from one file that has `columns`."""
    images, labels, splits, rows = [], [], [], []
    with open(file, "rb") as stream:
        places = read_header(stream, file, columns)
        for batch in batches(stream, places, file, problems):
            kept, pixels = read_pixels(batch, file, problems)
            images.append(pixels)
            labels += [batch[index][1] for index in kept]
            splits += [batch[index][2] for index in kept]
            rows += [batch[index][0] - 2 for index in kept]
    if not rows:
        raise DataError(f"{file}: Expected rows below the header. Received: none that can be read.")
    return {
        "images": np.concatenate(images).reshape(-1, SIDE, SIDE, 1),
        "labels": np.array(labels, np.int64),
        "split": np.array(splits, "<U10"),
        "classes": FER7,
        "source": problems.describe("FER-2013, CSV"),
        "rows": np.array(rows, np.int64),
        "skipped": tuple(problems.messages),
    }


def batches(stream, places, file, problems):
    """Yield lists of `(line number, label, split, pixel field)`; rows with other faults are left to `problems`."""
    batch = []
    for number, line in enumerate(stream, start=2):
        if line.isspace():
            continue
        try:
            batch.append((number, *split_row(line, places)))
        except DataError as error:
            problems.add(file, f"line {number}", str(error))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def split_row(line, places):
    """Return label, split ("train" where there is no Usage) and pixel field of one line of bytes."""
    emotion, pixels, *usage, count = places
    fields = split_line(line, count)
    label = strip(fields[emotion])
    if label not in LABELS:
        raise DataError(f"Expected an emotion in 0..{len(FER7) - 1}. Received: {label[:20].decode()!r}.")
    if not usage:
        return LABELS[label], "train", strip(fields[pixels])
    name = strip(fields[usage[0]])
    if name not in USAGES:
        raise DataError(f"Expected a Usage of {', '.join(USAGE_TO_SPLIT)}. Received: {name[:20].decode()!r}.")
    return LABELS[label], USAGES[name], strip(fields[pixels])


def read_pixels(batch, file, problems):
    """Return which rows of a batch could be read, and their pixels uint8 `(rows, 2304)`."""
    pixels = parse_batch([field for *_, field in batch], SIDE * SIDE)
    if pixels is not None:
        return range(len(batch)), pixels
    kept, parsed = [], []
    for index, (number, *_, field) in enumerate(batch):
        try:
            parsed.append(parse_field(field, SIDE * SIDE))
            kept.append(index)
        except DataError as error:
            problems.add(file, f"line {number}", str(error))
    return kept, np.array(parsed, np.uint8).reshape(-1, SIDE * SIDE)
