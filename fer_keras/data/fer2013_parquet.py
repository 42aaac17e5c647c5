"""FER-2013 as three Parquet files (`fer2013-training.parquet`, ...), with the FER+ votes beside each row."""

import numpy as np

from fer_keras.data.dataset import DataError, FaceDataset
from fer_keras.data.images import decode
from fer_keras.labels import FER7, FERPLUS_VOTES, NUM_IMAGES, USAGE_TO_SPLIT

FILES = tuple(f"fer2013-{usage.lower()}.parquet" for usage in USAGE_TO_SPLIT)
VOTES = [f"ferplus_{name}" for name in FERPLUS_VOTES]
COLUMNS = ["row", "Usage", "emotion", "png"]
SIDE = 48


def find(path):
    """Return the three files if `path` is the folder that holds them, else None."""
    files = tuple(path / name for name in FILES)
    return files if all(file.is_file() for file in files) else None


def read(files, problems):
    """Return a `FaceDataset` of the three files: official split, `rows` of fer2013.csv, FER+ votes where given."""
    parts = [read_file(file, problems) for file in files]
    has_votes = all(votes is not None for *_, votes in parts)
    images, labels, split, rows, votes = zip(*parts, strict=True)
    return FaceDataset(
        images=np.concatenate(images)[..., None],
        labels=np.concatenate(labels),
        split=np.concatenate(split),
        classes=FER7,
        source=problems.describe(f"FER-2013, Parquet{' with FER+ votes' if has_votes else ''}"),
        protocol="official",
        rows=np.concatenate(rows),
        votes=np.concatenate(votes) if has_votes else None,
        skipped=tuple(problems.messages),
        fer2013_rows=NUM_IMAGES,
    )


def read_file(file, problems):
    """Return images, labels, splits, rows and votes (or None) of one file, bad rows left to `problems`."""
    table = read_table(file)
    images = np.zeros((len(table), SIDE, SIDE), np.uint8)
    keep = np.zeros(len(table), bool)
    for index, (row, usage, emotion, png) in enumerate(zip(*(table[name] for name in COLUMNS), strict=True)):
        try:
            refuse_values(usage, emotion)
            images[index] = picture(png)
            keep[index] = True
        except DataError as error:
            problems.add(file, f"row {row}", str(error))
    table, images = table[keep], images if keep.all() else images[keep]
    split = table["Usage"].map(USAGE_TO_SPLIT).to_numpy("<U10")
    votes = table[VOTES].to_numpy(np.float32) if set(VOTES) <= set(table.columns) else None
    return images, table["emotion"].to_numpy(np.int64), split, table["row"].to_numpy(np.int64), votes


def read_table(file):
    """Return one file as a `pandas.DataFrame`; a `DataError` says what is wrong with it as a whole."""
    import pandas as pd

    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError("Reading Parquet needs pyarrow. Install it: pip install 'fer_keras[data]'") from error
    try:
        table = pd.read_parquet(file, engine="pyarrow")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: Expected a whole Parquet file. Received: {str(error)[:200]}") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            f"{file}: Expected the columns {', '.join(COLUMNS)} (and ferplus_*). "
            f"Received: {', '.join(table.columns)}, without {', '.join(missing)}."
        )
    return table


def refuse_values(usage, emotion):
    """Raise a `DataError` for a Usage or label that FER-2013 does not have."""
    if usage not in USAGE_TO_SPLIT:
        raise DataError(f"Expected a Usage of {', '.join(USAGE_TO_SPLIT)}. Received: {usage!r}.")
    if emotion not in range(len(FER7)):
        raise DataError(f"Expected an emotion in 0..{len(FER7) - 1}. Received: {emotion!r}.")


def picture(png):
    """Return the pixels `(48, 48)` of one PNG, given as bytes."""
    if not isinstance(png, bytes):
        raise DataError(f"Expected the bytes of a PNG. Received: {type(png).__name__}.")
    pixels = decode(png)
    if pixels.shape != (SIDE, SIDE):
        raise DataError(f"Expected {SIDE}x{SIDE} pixels. Received: {pixels.shape[0]}x{pixels.shape[1]}.")
    return pixels
