"""`fer2013.csv`: a row a face, with the columns emotion, pixels (48x48 numbers in one field) and Usage."""

import numpy as np

from fer_keras.data.faces import FaceDataset
from fer_keras.data.pixel_text import parse_batch, parse_field
from fer_keras.data.problems import DataError
from fer_keras.labels import FER7, USAGE_TO_SPLIT

COLUMNS = ("emotion", "pixels", "Usage")
LABELS = {str(label).encode(): label for label in range(len(FER7))}
USAGES = {usage.encode(): split for usage, split in USAGE_TO_SPLIT.items()}
SIDE = 48
BATCH = 256  # rows parsed at once: what is computed from their text stays near the processor's cache
HEADER_LIMIT = 10_000  # bytes: a binary file may hold no newline at all


def find(path):
    """Return the file if `path` is a CSV, or a folder that holds fer2013.csv; else None."""
    if path.is_file():
        return (path,) if path.suffix.lower() == ".csv" else None
    candidates = (path / "fer2013.csv", path / "fer2013" / "fer2013.csv")
    return next(((file,) for file in candidates if file.is_file()), None)


def read(files, problems):
    """Return a `FaceDataset` of one file: official split, `rows` counted from 0 below the header."""
    (file,) = files
    images, labels, splits, rows = [], [], [], []
    with open(file, "rb") as stream:
        columns = read_header(stream, file)
        for batch in batches(stream, columns, file, problems):
            kept, pixels = read_pixels(batch, file, problems)
            images.append(pixels)
            labels += [batch[index][1] for index in kept]
            splits += [batch[index][2] for index in kept]
            rows += [batch[index][0] - 2 for index in kept]
    if not rows:
        raise DataError(f"{file}: Expected rows below the header. Received: none that can be read.")
    return FaceDataset(
        images=np.concatenate(images).reshape(-1, SIDE, SIDE, 1),
        labels=np.array(labels, np.int64),
        split=np.array(splits, "<U10"),
        classes=FER7,
        source=problems.describe("FER-2013, CSV"),
        protocol="official",
        rows=np.array(rows, np.int64),
        skipped=tuple(problems.messages),
    )


def read_header(stream, file):
    """Return the place of each of `COLUMNS` in a row, and the number of fields in a row."""
    header = stream.readline(HEADER_LIMIT)
    try:
        names = [strip(name).decode() for name in header.removeprefix(b"\xef\xbb\xbf").split(b",")]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: Expected UTF-8 text with a header of {','.join(COLUMNS)}. Received: bytes that are not UTF-8 "
            f"(a compressed or binary file?), first {header[:8]!r}."
        ) from error
    missing = [name for name in COLUMNS if names.count(name) != 1]
    if missing:
        received = ",".join(names)[:80] or "an empty file or line"
        raise DataError(
            f"{file}, line 1: Expected the columns {','.join(COLUMNS)}, each once. Received: {received}. "
            f"Add or rename {', '.join(missing)}."
        )
    return (*map(names.index, COLUMNS), len(names))


def batches(stream, columns, file, problems):
    """Yield lists of `(line number, label, split, pixel field)`; rows with other faults are left to `problems`."""
    batch = []
    for number, line in enumerate(stream, start=2):
        if line.isspace():
            continue
        try:
            batch.append((number, *split_row(line, columns)))
        except DataError as error:
            problems.add(file, f"line {number}", str(error))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def split_row(line, columns):
    """Return label, split and pixel field of one line of bytes."""
    emotion, pixels, usage, count = columns
    if not line.isascii():
        refuse_non_text(line)
    fields = line.split(b",")
    if len(fields) != count:
        raise DataError(f"Expected {count} fields. Received: {len(fields)} (a file cut short?).")
    label, name = strip(fields[emotion]), strip(fields[usage])
    if label not in LABELS:
        raise DataError(f"Expected an emotion in 0..{len(FER7) - 1}. Received: {label[:20].decode()!r}.")
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


def refuse_non_text(line):
    """Raise a `DataError` if the bytes of a line are not UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"Expected UTF-8 text. Received: byte {line[error.start]:#04x} at {error.start}.") from error


def strip(field):
    """Return a field without the blanks and quotes around it."""
    return field.strip(b' "\t\r\n')
