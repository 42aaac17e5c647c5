"""Writers of files in the published forms, from made-up pixels; a tree is a dict of paths to pictures."""

import io
import struct
import tarfile
import zipfile
import zlib
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_keras.data import DataError
from fer_keras.labels import FER7, FERPLUS_VOTES, USAGE_TO_SPLIT

USAGES = tuple(USAGE_TO_SPLIT)


def noise(count, *, seed=0):
    """Made-up faces, uint8 `(count, 48, 48)`, with numbers of one digit, too."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 48, 48), dtype=np.uint8)
    images[:, :16] //= 26
    return images


def fer_table(count, *, seed=0):
    """Rows of FER-2013: labels 0..6 in turn, Usages in turn, made-up images and votes."""
    return {
        "emotion": np.arange(count) % 7,
        "Usage": np.array(USAGES)[np.arange(count) // 7 % 3],
        "images": noise(count, seed=seed),
        "votes": np.random.default_rng(seed).multinomial(10, np.full(10, 0.1), count),
    }


def csv_lines(table, header="emotion,pixels,Usage"):
    """The lines of fer2013.csv, header first; pixels are quoted where there is no Usage."""
    pixels = [" ".join(map(str, image.ravel())) for image in table["images"]]
    columns = {**table, "pixels": pixels if "Usage" in header else [f'"{each}"' for each in pixels]}
    rows = zip(*(columns[name.strip()] for name in header.split(",")), strict=True)
    return [header, *(",".join(map(str, row)) for row in rows)]


icml_lines = partial(csv_lines, header="emotion, Usage, pixels")  # icml_face_data.csv, with its blanks
challenge_lines = partial(csv_lines, header="emotion,pixels")  # the challenge's train.csv


def ferplus_lines(table):
    """The lines of fer2013new.csv; the image's name is empty where all votes are NF."""
    lines = [",".join(["Usage", "Image name", *FERPLUS_VOTES])]
    for row, (usage, votes) in enumerate(zip(table["Usage"], table["votes"].tolist(), strict=True)):
        lines.append(",".join([usage, f"fer{row:07d}.png" if votes[-1] < 10 else "", *map(str, votes)]))
    return lines


def text(lines):
    return ("\n".join(lines) + "\n").encode()


def write_csv(folder, lines, name="fer2013.csv"):
    """Write lines and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text(lines))
    return folder / name


def png(image, image_format="PNG"):
    """The bytes of an encoded picture."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, image_format, quality=95)
    return stream.getvalue()


def as_jpeg(image, size=(48, 48)):
    """The pixels that a picture has once `write_tree` has made it a JPEG, grey and of a size."""
    held = Image.open(io.BytesIO(png(image, "JPEG"))).convert("L")
    return np.asarray(held.resize(size, Image.Resampling.BILINEAR))


def claimed(width, height):
    """The bytes of a tiny PNG whose header claims another size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = png(np.zeros((1, 1), np.uint8))
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def parquet_frame(table):
    """The rows as the Parquet files hold them."""
    frame = pd.DataFrame({"row": np.arange(len(table["emotion"]), dtype=np.int32), "Usage": table["Usage"]})
    frame["emotion"] = table["emotion"].astype(np.int8)
    frame["png"] = [png(image) for image in table["images"]]
    frame[[f"ferplus_{name}" for name in FERPLUS_VOTES]] = table["votes"].astype(np.int8)
    return frame


def write_parquet(folder, frame):
    """Write the three files, rows by `Usage`, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for usage in USAGES:
        frame[frame["Usage"] == usage].to_parquet(folder / f"fer2013-{usage.lower()}.parquet", index=False)
    return folder


def write_tree(folder, tree):
    """Write pictures given by their paths, as the suffix says, and return their folder."""
    for path, image in tree.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image, "PNG" if file.suffix == ".png" else "JPEG"))
    return folder


def write_course(folder, images, listing):
    """Write `split/class/row.jpg` files of `(split, class, row)`, and return their folder."""
    return write_tree(folder, {f"{split}/{name}/{row}.jpg": images[row] for split, name, row in listing})


def write_zip(file, entries):
    """Write a zip of names to bytes and return its path."""
    with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file


def as_zip(folder):
    """Write a zip of a folder beside it, and return its path."""
    items = [item for item in folder.rglob("*") if item.is_file()]
    entries = {str(item.relative_to(folder.parent)): item.read_bytes() for item in items}
    return write_zip(folder.parent / "faces.zip", entries)


def as_tar(folder, name="faces.tar.gz", mode="w:gz"):
    """Write a tar of a folder beside it, and return its path."""
    with tarfile.open(folder.parent / name, mode) as archive:
        archive.add(folder, folder.name)
    return folder.parent / name


def fer_tree(table, path):
    """The tree of the rows at the paths of a pattern; ids rise with the rows, and are none."""
    tree, others = {}, {"disgust": "disgusted", "fear": "fearful", "surprise": "surprised"}
    for row, (label, usage, image) in enumerate(zip(table["emotion"], table["Usage"], table["images"], strict=True)):
        fields = {"row": row, "id": 902573 + 10**6 * row, "usage": usage, "name": FER7[label]}
        fields["half"] = "train" if usage == "Training" else "test"
        fields["fifth"] = "validation" if row % 10 < 2 else "train"
        tree[path.format(other=others.get(FER7[label], FER7[label]), **fields)] = image
    return tree


named_folders = partial(fer_tree, path="{half}/{name}/{usage}_{id}.jpg")
unnamed_folders = partial(fer_tree, path="{half}/{other}/im{row}.png")  # of another upload, with its names
validated_folders = partial(fer_tree, path="images/{fifth}/{name}/{row}.jpg")


def write_ferplus(folder, table):
    """Write FER+'s own folders, as its script makes them, and return the folder that holds them."""
    for usage, name in zip(USAGES, ("FER2013Train", "FER2013Valid", "FER2013Test"), strict=True):
        rows = np.flatnonzero(np.asarray(table["Usage"]) == usage)
        write_tree(folder, {f"{name}/fer{row:07}.png": table["images"][row] for row in rows})
        lines = [f'fer{row:07}.png,"(0, 0, 48, 48)",{",".join(map(str, table["votes"][row]))}' for row in rows]
        write_csv(folder / name, lines, "label.csv")
    return folder


def ckplus_folders(num_persons=40):
    """The tree of CK+48: of each person two sequences of three frames, each sequence of one emotion."""
    names = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
    shown = [(person, each, frame) for person in range(num_persons) for each in (1, 4) for frame in (15, 16, 17)]
    return {
        f"CK+48/{names[person * sequence % 7]}/S{person + 10:03}_{sequence:03}_{frame:08}.png": image
        for (person, sequence, frame), image in zip(shown, noise(len(shown)), strict=True)
    }


def rafdb_faces(num_train=70, num_test=14):
    """Made-up rows of RAF-DB, `(name, label 1..7, colour picture 100x100)`, as its list names them."""
    names = [f"train_{n:05}" for n in range(1, num_train + 1)] + [f"test_{n:04}" for n in range(1, num_test + 1)]
    pictures = np.random.default_rng(0).integers(0, 256, (len(names), 5, 5, 3), dtype=np.uint8)
    pictures = pictures.repeat(20, axis=1).repeat(20, axis=2)
    return [(name, 1 + row % 7, picture) for row, (name, picture) in enumerate(zip(names, pictures, strict=True))]


def write_rafdb_list(folder, faces):
    """Write RAF-DB as its authors publish it, and return the folder that holds `basic`."""
    write_tree(folder, {f"basic/Image/aligned/{name}_aligned.jpg": picture for name, _, picture in faces})
    lines = [f"{name}.jpg {label}" for name, label, _ in faces]
    write_csv(folder / "basic" / "EmoLabel", lines, "list_patition_label.txt")
    return folder


def write_rafdb_folders(folder, faces):
    """Write RAF-DB in numbered folders, with its two lists of labels, and return the folder that holds them."""
    for part in ("train", "test"):
        held = [(f"{name}_aligned.jpg", label, image) for name, label, image in faces if name.startswith(part)]
        write_tree(folder, {f"DATASET/{part}/{label}/{name}": image for name, label, image in held})
        write_csv(folder, ["image,label", *(f"{name},{label}" for name, label, _ in held)], f"{part}_labels.csv")
    return folder


def refused(message, load, *arguments, **options):
    """Check that a loader raises a `DataError` that says so."""
    with pytest.raises(DataError, match=message):
        load(*arguments, **options)


def skipped(message, load, *arguments):
    """The faces that a loader reads with `on_error="skip"`, after a check that without it raises."""
    refused(f"{message}.*on_error='skip'", load, *arguments)
    return load(*arguments, on_error="skip")


def set_up(monkeypatch, tmp_path):
    """Give a test a cache of its own, and no data from the environment."""
    monkeypatch.setenv("FER_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_KERAS_DATA", raising=False)


def expect(faces, table):
    """Check that `faces` holds just the rows of a table."""
    np.testing.assert_array_equal(faces.images[..., 0], table["images"])
    np.testing.assert_array_equal(faces.labels, table["emotion"])
    assert faces.split.tolist() == [USAGE_TO_SPLIT[usage] for usage in table["Usage"]]
    assert (faces.classes, faces.protocol, faces.skipped) == (FER7, "official", ())


def nothing_cached(tmp_path):
    return not list((tmp_path / "cache").rglob("*.npy")) and not list((tmp_path / "cache").rglob("*.json"))
