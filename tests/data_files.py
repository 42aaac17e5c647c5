"""Writers of files in the published forms, from made-up pixels."""

import io
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_keras.labels import FERPLUS_VOTES, USAGE_TO_SPLIT

USAGES = tuple(USAGE_TO_SPLIT)
REAL_DATA = os.environ.get("FER_KERAS_DATA")
needs_real_data = pytest.mark.skipif(not REAL_DATA, reason="FER_KERAS_DATA is not set")


def noise(count, *, seed=0):
    """Return made-up faces, uint8 `(count, 48, 48)`; small and large values are all there."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    images[:, :16] //= 26  # one digit
    return images


def fer_table(count, *, seed=0):
    """Return a table of `count` rows: labels 0..6 in turn, Usages in turn, made-up images and votes."""
    generator = np.random.default_rng(seed)
    return {
        "emotion": np.arange(count) % 7,
        "Usage": np.array(USAGES)[np.arange(count) // 7 % 3],
        "images": noise(count, seed=seed),
        "votes": generator.multinomial(10, np.full(10, 0.1), count),
    }


def csv_row(emotion, image, usage):
    """Return one line of fer2013.csv."""
    return f"{emotion},{' '.join(map(str, image.ravel()))},{usage}"


def csv_lines(table):
    """Return the lines of fer2013.csv, header first."""
    rows = zip(table["emotion"], table["images"], table["Usage"], strict=True)
    return ["emotion,pixels,Usage", *(csv_row(*row) for row in rows)]


def write_csv(folder, lines, name="fer2013.csv"):
    """Write lines and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(("\n".join(lines) + "\n").encode())
    return file


def png(image, image_format="PNG", **options):
    """Return the bytes of an encoded picture."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, image_format, **options)
    return stream.getvalue()


def claimed(width, height):
    """Return the bytes of a tiny PNG whose header claims another size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = png(np.zeros((1, 1), np.uint8))
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def parquet_frame(table):
    """Return the rows as the Parquet files hold them."""
    frame = pd.DataFrame({"row": np.arange(len(table["emotion"]), dtype=np.int32), "Usage": table["Usage"]})
    frame["emotion"] = table["emotion"].astype(np.int8)
    frame["png"] = [png(image) for image in table["images"]]
    for index, name in enumerate(FERPLUS_VOTES):
        frame[f"ferplus_{name}"] = table["votes"][:, index].astype(np.int8)
    return frame


def write_parquet(folder, frame):
    """Write the three files, rows by `Usage` (an unknown one goes with Training), and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    place = frame["Usage"].where(frame["Usage"].isin(USAGES), "Training")
    for usage in USAGES:
        frame[place == usage].to_parquet(folder / f"fer2013-{usage.lower()}.parquet", index=False)
    return folder


def write_course(folder, images, listing):
    """Write `split/class/row.jpg` JPEG files of `(split, class, row)`, and return their folder."""
    for split, name, row in listing:
        file = folder / split / name / f"{row}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(images[row], "JPEG", quality=95))
    return folder


def set_up(monkeypatch, tmp_path):
    """Give a test a cache of its own, and no data from the environment."""
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_KERAS_DATA", raising=False)
