"""Writers of files in the published forms, from made-up pixels."""

import io
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_keras.labels import FER7, FERPLUS_VOTES, USAGE_TO_SPLIT

USAGES = tuple(USAGE_TO_SPLIT)
SKIP_REASON = "on_error='skip'"
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


def icml_lines(table):
    """Return the lines of icml_face_data.csv, whose last two names have a leading blank."""
    rows = zip(table["emotion"], table["Usage"], table["images"], strict=True)
    rows = [f"{emotion},{usage},{' '.join(map(str, image.ravel()))}" for emotion, usage, image in rows]
    return ["emotion, Usage, pixels", *rows]


def challenge_lines(table, *, labels=True):
    """Return the lines of the challenge's train.csv, or of its test.csv, which has no labels; pixels are quoted."""
    pixels = [f'"{" ".join(map(str, image.ravel()))}"' for image in table["images"]]
    if not labels:
        return ["pixels", *pixels]
    return ["emotion,pixels", *(f"{emotion},{row}" for emotion, row in zip(table["emotion"], pixels, strict=True))]


def ferplus_lines(table):
    """Return the lines of fer2013new.csv; the image's name is empty where all votes are NF."""
    rows = zip(table["Usage"], table["votes"].tolist(), strict=True)
    names = (f"fer{row:07d}.png" if votes[-1] < 10 else "" for row, votes in enumerate(table["votes"].tolist()))
    lines = [",".join([usage, name, *map(str, votes)]) for (usage, votes), name in zip(rows, names, strict=True)]
    return [",".join(["Usage", "Image name", *FERPLUS_VOTES]), *lines]


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


def write_tree(folder, tree):
    """Write pictures given by their paths, as the suffix says, and return their folder."""
    for path, image in tree.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image, "PNG") if file.suffix == ".png" else png(image, "JPEG", quality=95))
    return folder


def as_jpeg(image):
    """Return the pixels that a picture has once `write_tree` has made it a grey JPEG."""
    return np.asarray(Image.open(io.BytesIO(png(image, "JPEG", quality=95))))


def named_folders(table):
    """Return the tree `train|test/<emotion>/Usage_<id>.jpg`; the ids rise with the rows, and are none."""
    rows = zip(table["emotion"], table["Usage"], table["images"], strict=True)
    return {
        f"{'train' if usage == 'Training' else 'test'}/{FER7[label]}/{usage}_{902573 + 10**6 * row}.jpg": image
        for row, (label, usage, image) in enumerate(rows)
    }


def unnamed_folders(table):
    """Return the tree `train|test/<emotion>/im<number>.png` of another upload, with its names of the emotions."""
    names = ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")
    rows = zip(table["emotion"], table["Usage"], table["images"], strict=True)
    return {
        f"{'train' if usage == 'Training' else 'test'}/{names[label]}/im{row}.png": image
        for row, (label, usage, image) in enumerate(rows)
    }


def validated_folders(table):
    """Return the tree `images/train|validation/<emotion>/<row>.jpg`, two rows of ten for validation."""
    return {
        f"images/{'train' if row % 10 > 1 else 'validation'}/{FER7[label]}/{row}.jpg": image
        for row, (label, image) in enumerate(zip(table["emotion"], table["images"], strict=True))
    }


def ckplus_folders(num_persons=40):
    """Return the tree of CK+48: of each person two sequences of three frames, each sequence of one emotion."""
    names = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
    images = iter(noise(num_persons * 6))
    return {
        f"CK+48/{names[person * sequence % 7]}/S{person + 10:03}_{sequence:03}_{frame:08}.png": next(images)
        for person in range(num_persons)
        for sequence in (1, 4)
        for frame in (15, 16, 17)
    }


def rafdb_faces(num_train=70, num_test=14):
    """Return made-up rows of RAF-DB, `(name, label 1..7, colour picture 100x100)`, as its list names them."""
    generator = np.random.default_rng(0)
    names = [f"train_{n:05}" for n in range(1, num_train + 1)] + [f"test_{n:04}" for n in range(1, num_test + 1)]
    pictures = generator.integers(0, 256, (len(names), 5, 5, 3), dtype=np.uint8).repeat(20, axis=1).repeat(20, axis=2)
    return [(name, 1 + row % 7, picture) for row, (name, picture) in enumerate(zip(names, pictures, strict=True))]


def write_rafdb_list(folder, faces):
    """Write RAF-DB as its authors publish it, and return the folder that holds `basic`."""
    write_tree(folder, {f"basic/Image/aligned/{name}_aligned.jpg": picture for name, _, picture in faces})
    (folder / "basic" / "EmoLabel").mkdir()
    lines = "".join(f"{name}.jpg {label}\n" for name, label, _ in faces)
    (folder / "basic" / "EmoLabel" / "list_patition_label.txt").write_text(lines)
    return folder


def write_rafdb_folders(folder, faces):
    """Write RAF-DB in numbered folders, with its two lists of labels, and return the folder that holds them."""
    split = {name: name.partition("_")[0] for name, *_ in faces}
    write_tree(folder, {f"DATASET/{split[name]}/{label}/{name}_aligned.jpg": image for name, label, image in faces})
    for part in ("train", "test"):
        lines = [f"{name}_aligned.jpg,{label}" for name, label, _ in faces if split[name] == part]
        (folder / f"{part}_labels.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    return folder


def set_up(monkeypatch, tmp_path):
    """Give a test a cache of its own, and no data from the environment."""
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_KERAS_DATA", raising=False)


def expect(faces, table):
    """Check that `faces` holds just the rows of a table."""
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    np.testing.assert_array_equal(faces.labels, table["emotion"])
    assert faces.split.tolist() == [USAGE_TO_SPLIT[usage] for usage in table["Usage"]]
    assert faces.classes == FER7
    assert faces.protocol == "official"
    assert faces.skipped == ()


def nothing_cached(tmp_path):
    return not list((tmp_path / "cache").rglob("*.npy")) and not list((tmp_path / "cache").rglob("*.json"))
