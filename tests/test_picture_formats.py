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


def encoded(image_format):
    stream = io.BytesIO()
    Image.fromarray(files.noise(3).transpose(1, 2, 0)).save(stream, image_format)
    return stream.getvalue()


EPS = encoded("EPS")
WITH_A_PREVIEW = b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little") + len(EPS).to_bytes(4, "little") + bytes(20) + EPS


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


def parquet(folder, content):
    frame = files.parquet_frame(files.fer_table(70))
    frame["png"] = [content, *frame["png"][1:]]
    return files.write_parquet(folder, frame)


def holding(make):
    """A function that writes a data set by `make`, the content in the place of one of its pictures."""

    def write(folder, content):
        root = make(folder)
        sorted(path for path in root.rglob("*") if path.suffix in (".png", ".jpg"))[0].write_bytes(content)
        return root

    return write


OWN = {f"{name}/{number}.jpg": files.noise(1)[0] for name in ("happy", "sad") for number in "123"}
COURSE = [(split, name, row) for split in ("train", "validation", "test") for row, name in enumerate(FER4)]
own = holding(lambda folder: files.write_tree(folder, OWN))
kaggle = holding(lambda folder: files.write_tree(folder, files.named_folders(files.fer_table(70))))
DATA_READERS = {
    "load_folder": (load_folder, own),
    "load_faces": (load_faces, own),
    "load_fer4": (
        lambda root: load_fer4(root, protocol="course"),
        holding(lambda folder: files.write_course(folder, files.noise(4), COURSE)),
    ),
    "load_fer7": (load_fer7, kaggle),
    "load_fer7, Parquet": (load_fer7, parquet),
    "load_fer7, zip": (lambda root: load_fer7(shutil.make_archive(f"{root}-zipped", "zip", root)), kaggle),
    "load_ckplus": (load_ckplus, holding(lambda folder: files.write_tree(folder, files.ckplus_folders()))),
    "load_rafdb": (load_rafdb, holding(lambda folder: files.write_rafdb_list(folder, files.rafdb_faces()))),
}
READERS = {
    "decode": decode,
    "decode bytes": lambda path: decode(path.read_bytes()),
    "open_photo": open_photo,
    "recognize": lambda path: fer_keras.recognize(path, **WITH),
    "recognize bytes": lambda path: fer_keras.recognize(path.read_bytes(), **WITH),
    "recognize an open file": lambda path: fer_keras.recognize(io.BytesIO(path.read_bytes()), **WITH),
    "annotate": lambda path: fer_keras.annotate(path, path.with_name("a.png"), **WITH),
    "explain_picture": lambda path: explain_picture(path, path.with_name("a.png"), **WITH),
    "recognize_video": lambda path: fer_keras.recognize_video(path, **WITH),
}


@pytest.mark.parametrize("content", [EPS, WITH_A_PREVIEW], ids=["EPS", "EPS with a preview"])
@pytest.mark.parametrize("reader", [*READERS, *DATA_READERS])
def test_every_reader_refuses_what_would_start_a_program(reader, content, mark, tmp_path):
    read, place = READERS.get(reader), tmp_path / "holiday.jpg"
    if read:
        place.write_bytes(content)
    else:
        read, write = DATA_READERS[reader]
        place = write(tmp_path / "data", content)
    with pytest.raises(ValueError, match=r"Expected .*Received"):
        read(place)
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
    (folder / "holiday.jpg").write_bytes(EPS)
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
