"""Pictures of pixels are read, whatever they are called; what would run a program is refused by every reader."""

import io
import shutil

import data_files as files
import numpy as np
import pandas as pd
import pytest
from PIL import EpsImagePlugin, Image

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data import DataError, load_ckplus, load_faces, load_fer4, load_fer7, load_folder, load_rafdb
from fer_keras.data.images import FORMATS, UNSAFE, decode, open_picture
from fer_keras.labels import FER4
from fer_keras.recognition.annotate import explain_picture
from fer_keras.recognition.folders import recognize_each
from fer_keras.recognition.photos import open_photo
from fer_keras.recognition.recognizer import Recognizer

NETWORK = "mini-xception"
WITH = {"network": NETWORK, "detector": "haar"}
RGB = Image.fromarray(files.noise(3).transpose(1, 2, 0))


def encoded(image_format):
    stream = io.BytesIO()
    RGB.save(stream, image_format)
    return stream.getvalue()


EPS = encoded("EPS")
WITH_A_PREVIEW = b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little") + len(EPS).to_bytes(4, "little") + bytes(20) + EPS
CONTENTS = {"EPS": EPS, "EPS with a preview": WITH_A_PREVIEW}


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that is there once somebody has started Ghostscript."""
    mark, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$@\" >> '{mark}'\necho 10.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    files.set_up(monkeypatch, tmp_path)
    return mark


def written(place, content, make):
    """A data set that `make` writes below `place`, the content in the place of one of its pictures."""
    root = make(place / "data")
    sorted(path for path in root.rglob("*") if path.suffix in (".png", ".jpg"))[0].write_bytes(content)
    return root


def own(folder):
    return files.write_tree(folder, {f"{name}/{n}.jpg": files.noise(1)[0] for name in ("happy", "sad") for n in "123"})


def course(folder):
    listing = [(split, name, row) for split in ("train", "validation", "test") for row, name in enumerate(FER4)]
    return files.write_course(folder, files.noise(4), listing)


def kaggle(folder):
    return files.write_tree(folder, files.named_folders(files.fer_table(70)))


def parquet(place, content):
    frame = files.parquet_frame(files.fer_table(70))
    frame["png"] = [content, *frame["png"][1:]]
    return files.write_parquet(place / "data", frame)


def zipped(place, content):
    root = written(place, content, kaggle)
    return shutil.make_archive(place / "zipped", "zip", root)


def photo(place, content):
    (place / "holiday.jpg").write_bytes(content)
    return place / "holiday.jpg"


def opened(place, content):
    with open(photo(place, content), "rb") as file:
        return fer_keras.recognize(file, **WITH)


READERS = {
    "decode": lambda place, content: decode(photo(place, content)),
    "decode bytes": lambda place, content: decode(content),
    "open_photo": lambda place, content: open_photo(photo(place, content)),
    "recognize": lambda place, content: fer_keras.recognize(photo(place, content), **WITH),
    "recognize bytes": lambda place, content: fer_keras.recognize(content, **WITH),
    "recognize an open file": opened,
    "annotate": lambda place, content: fer_keras.annotate(photo(place, content), place / "a.png", **WITH),
    "explain_picture": lambda place, content: explain_picture(photo(place, content), place / "a.png", **WITH),
    "recognize_video": lambda place, content: fer_keras.recognize_video(photo(place, content), **WITH),
    "load_folder": lambda place, content: load_folder(written(place, content, own)),
    "load_faces": lambda place, content: load_faces(written(place, content, own)),
    "load_fer4": lambda place, content: load_fer4(written(place, content, course), protocol="course"),
    "load_fer7": lambda place, content: load_fer7(written(place, content, kaggle)),
    "load_fer7, Parquet": lambda place, content: load_fer7(parquet(place, content)),
    "load_fer7, zip": lambda place, content: load_fer7(zipped(place, content)),
    "load_ckplus": lambda place, content: load_ckplus(
        written(place, content, lambda folder: files.write_tree(folder, files.ckplus_folders()))
    ),
    "load_rafdb": lambda place, content: load_rafdb(
        written(place, content, lambda folder: files.write_rafdb_list(folder, files.rafdb_faces()))
    ),
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_what_would_start_a_program(reader, kind, mark, tmp_path):
    with pytest.raises(ValueError, match=r"Expected .*Received"):
        READERS[reader](tmp_path, CONTENTS[kind])
    assert not mark.exists()


def test_the_trap_is_real_and_an_opened_pil_image_is_refused_too(mark):
    with Image.open(io.BytesIO(EPS)) as picture:
        with pytest.raises(DataError, match=r"Expected a picture of pixels .*Received: one of format EPS"):
            open_photo(picture)
        assert not mark.exists()
        with pytest.raises(OSError, match=r"."):
            picture.load()
    assert mark.exists()


def test_among_many_pictures_it_is_an_error_of_its_own(mark, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    photo(folder, EPS)
    (folder / "sound.png").write_bytes(encoded("PNG"))
    table = fer_keras.recognize_folder(folder, **WITH).set_index("picture")
    assert "Expected a whole picture" in table.error["holiday.jpg"]
    assert pd.isna(table.error["sound.png"])
    (row,) = recognize_each([("row", EPS)], Recognizer(**WITH))  # as the rows of Parquet files come
    assert "Expected a whole picture" in row[2]
    assert main(["recognize", str(folder / "holiday.jpg"), "--weights", NETWORK, "--detector", "haar"]) == 2
    assert "holiday.jpg: Expected a whole picture (PNG, JPEG, ...). Received: " in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.parametrize("image_format", [*FORMATS, "MPO"])
def test_every_format_that_is_meant_is_read(image_format):
    try:
        content = encoded(image_format)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {image_format}")
    assert decode(content).shape == open_photo(content).size


def test_no_other_format_is_opened():
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)
    assert not set(FORMATS) & {*UNSAFE, "BUFR", "FPX", "GBR", "GRIB", "HDF5", "MIC", "MPEG", "PDF", "WAL"}
    for image_format in ("IM", "MSP", "SPIDER"):
        stream = io.BytesIO()
        Image.fromarray(np.zeros((8, 8), np.uint8)).convert("1").save(stream, image_format)
        with pytest.raises(OSError, match="cannot identify"):
            open_picture(stream)
