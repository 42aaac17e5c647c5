"""How long FER-2013 takes to load, against reading its bytes and against the ways that are usual.

A fer2013.csv of full size is written to a temporary folder: from FER-2013 where `FER_KERAS_DATA` is set, else from
noise, whose text is as long. Then these are timed in turn, the file being in the system's page cache for all of them:
- bytes: reading the file into memory at once, nothing else.
- strict parse: the project's reader of CSV, which checks every row and value.
- first load: `load_fer7` with an empty cache, that is digest, strict parse, and writing the cache.
- second load: `load_fer7` with that cache, sums checked.
- split in Python: the csv module, `split` and `int` on the first rows, scaled to all of them.
- pandas and fromstring: `read_csv`, then `np.fromstring` on each row.
Where `FER_KERAS_DATA` is the folder with the Parquet files, so are the loads of those, against pandas and Pillow.
"""

import csv
import io
import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import ratios
from PIL import Image

from fer_keras.data import fer2013_tables, load_fer7
from fer_keras.data.dataset import Problems
from fer_keras.labels import SPLITS, USAGE_TO_SPLIT

COUNTS = {"train": 28_709, "validation": 3_589, "test": 3_589}
LONGEST_SECONDS = 0.5  # of the second load
BYTES, PARSE, FIRST, SECOND = "bytes", "strict parse", "first load", "second load"
NAIVE, PANDAS, PILLOW = "split in Python", "pandas and fromstring", "pandas and Pillow"
NAIVE_SHARE = 12  # Python alone splits one row in so many: all would take longer than the rest together


def main():
    """Measure, print, record."""
    asked = ratios.arguments(__doc__.splitlines()[0])
    rounds = 2 if asked.quick else 4
    parquet = parquet_files()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, labels, split = content(asked.quick)
        file = write_csv(folder / "fer2013.csv", images, labels, split)
        few = max(1, len(images) // NAIVE_SHARE)
        seconds = ratios.seconds_in_turn(csv_pieces(file, folder, few), rounds)
        found = compare_csv(seconds, len(images) / few)
        if parquet and not asked.quick:
            found += compare_parquet(ratios.seconds_in_turn(parquet_pieces(parquet, folder), rounds))
    where = ratios.machine("numpy", "pandas", "pyarrow", "pillow")
    ratios.show(found, where, rounds)
    if asked.json:
        ratios.write(found, where, rounds, asked.json)


def parquet_files():
    """The Parquet files of FER-2013 below `FER_KERAS_DATA`, or None."""
    place = os.environ.get("FER_KERAS_DATA")
    return fer2013_tables.find_parquet(Path(place)) if place else None


def content(quick):
    """Images `(n, 48, 48, 1)`, labels and splits: FER-2013's where it is at hand, else noise; few if quick."""
    if os.environ.get("FER_KERAS_DATA") and not quick:
        faces = load_fer7()
        return faces.images, faces.labels, faces.split
    split = np.repeat(SPLITS, [COUNTS[name] // (100 if quick else 1) for name in SPLITS])
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (len(split), 48, 48, 1), dtype=np.uint8)
    return images, generator.integers(0, 7, len(split)), split


def write_csv(file, images, labels, split):
    """Write a fer2013.csv and return its path."""
    words = np.zeros((256, 4), np.uint8)  # each value's digits and a blank, padded with zeros
    for value in range(256):
        word = f"{value} ".encode()
        words[value, : len(word)] = list(word)
    usages = {name: usage.encode() for usage, name in USAGE_TO_SPLIT.items()}
    with open(file, "wb") as stream:
        stream.write(b"emotion,pixels,Usage\n")
        for image, label, name in zip(images, labels, split.tolist(), strict=True):
            codes = words[image.ravel()].ravel()
            stream.write(b"%d,%s,%s\n" % (label, codes[codes != 0].tobytes()[:-1], usages[name]))
    return file


def csv_pieces(file, folder, few):
    """The functions to be timed on a CSV; Python alone splits a few rows of it."""
    warm, numbers = folder / "warm", itertools.count()
    return {
        BYTES: file.read_bytes,
        PARSE: lambda: fer2013_tables.parse_csv(file, fer2013_tables.COLUMNS, Problems("raise"), protocol="official"),
        FIRST: lambda: load(file, folder / f"cold-{next(numbers)}"),
        SECOND: lambda: load(file, warm),
        PANDAS: lambda: parse_with_pandas(file),
        NAIVE: lambda: split_in_python(file, few),
    }


def parquet_pieces(files, folder):
    """The functions to be timed on Parquet files."""
    place, warm, numbers = files[0].parent, folder / "warm", itertools.count()
    return {
        FIRST: lambda: load(place, folder / f"cold-parquet-{next(numbers)}"),
        SECOND: lambda: load(place, warm),
        PILLOW: lambda: decode_with_pillow(files),
    }


def load(place, cache):
    """Load FER-2013 with a given folder as the cache."""
    os.environ["FER_KERAS_CACHE"] = str(cache)
    return load_fer7(place)


def parse_with_pandas(file):
    """All pixels as notebooks on the web read them."""
    table = pd.read_csv(file)
    return np.stack([np.fromstring(pixels, dtype=np.uint8, sep=" ") for pixels in table["pixels"]])


def split_in_python(file, num_rows):
    """The pixels of the first rows, split with Python's own means."""
    with open(file, newline="") as stream:
        rows = itertools.islice(csv.DictReader(stream), num_rows)
        return np.array([[int(word) for word in row["pixels"].split()] for row in rows], np.uint8)


def decode_with_pillow(files):
    """All pixels of Parquet files, a picture at a time."""
    pictures = pd.concat([pd.read_parquet(file, columns=["png"]) for file in files])["png"]
    return np.stack([np.asarray(Image.open(io.BytesIO(png), formats=["PNG"])) for png in pictures])


def compare_csv(seconds, scale):
    """The ratios between the seconds of the pieces on a CSV; Python's own split counts `scale` times."""
    scaled = {**seconds, NAIVE: [scale * value for value in seconds[NAIVE]]}
    return [
        slower("CSV", PARSE, BYTES, scaled, goal=15),
        slower("CSV", FIRST, BYTES, scaled),
        slower("CSV", PARSE, PANDAS, scaled),
        slower("CSV", PARSE, NAIVE, scaled),
        slower("CSV", SECOND, BYTES, scaled),
        slower("CSV", SECOND, FIRST, scaled),
        within("CSV", SECOND, seconds),
    ]


def compare_parquet(seconds):
    """The ratios between the seconds of the pieces on Parquet files."""
    return [
        slower("Parquet", FIRST, PILLOW, seconds),
        slower("Parquet", SECOND, FIRST, seconds),
        within("Parquet", SECOND, seconds),
    ]


def slower(form, name, against, seconds, goal=None):
    """How many times longer one piece takes than another."""
    scale = f"{min(seconds[name]):.3g} against {min(seconds[against]):.3g} s"
    above, below = seconds[name], seconds[against]
    return ratios.Ratio(f"{form}: {name}", against, above, below, goal=goal, at_most=True, scale=scale)


def within(form, name, seconds):
    """The share of the longest time allowed that a piece takes."""
    allowed = [LONGEST_SECONDS] * len(seconds[name])
    scale = f"{min(seconds[name]):.3g} s"
    against = f"{LONGEST_SECONDS:g} s"
    return ratios.Ratio(f"{form}: {name}", against, seconds[name], allowed, goal=1.0, at_most=True, scale=scale)


if __name__ == "__main__":
    main()
