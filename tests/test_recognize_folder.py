"""Folders of pictures: one row a face, whatever else lies there, in batches and in bounded memory."""

import io
import os
import sys
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image
from test_recognizer import NETWORK, Brightness, Quarters, assert_same, quarters

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data import DataError
from fer_keras.labels import FER7
from fer_keras.recognition import folders
from fer_keras.recognition.folders import NO_FACE, as_table, list_pictures, pictures_at, recognize_each, rows
from fer_keras.recognition.recognizer import Recognizer

COLUMNS = ["picture", "face", "left", "top", "width", "height", "emotion", "confidence"]


@pytest.fixture
def photos(tmp_path):
    """A folder as people have it: photos, sub-folders, and much that is none."""
    folder = tmp_path / "photos"
    for place in ("holidays/2 beach", "holidays/10 home", ".hidden", "__MACOSX", "empty"):
        (folder / place).mkdir(parents=True)
    astronaut = Image.fromarray(np.asarray(skimage.data.astronaut()))
    blank = Image.new("RGB", (200, 100), "grey")
    astronaut.save(folder / "img10.png")
    astronaut.convert("L").save(folder / "img2.jpg", quality=95)
    blank.save(folder / "holidays" / "10 home" / "a.png")
    astronaut.save(folder / "holidays" / "2 beach" / "ümläut 'quoted', name.webp")
    for place in (".hidden/b.png", "__MACOSX/c.png", "._img2.jpg"):
        blank.save(folder / place)
    (folder / "cut.png").write_bytes((folder / "img10.png").read_bytes()[:2000])
    (folder / "words.jpg").write_text("I am no picture")
    (folder / "empty.gif").write_bytes(b"")
    (folder / "notes.txt").write_text("happy")
    return folder


EXPECTED = [
    ("cut.png", None),
    ("empty.gif", None),
    ("holidays/2 beach/ümläut 'quoted', name.webp", "happy"),
    ("holidays/10 home/a.png", NO_FACE),
    ("img2.jpg", "happy"),
    ("img10.png", "happy"),
    ("words.jpg", None),
]


def test_a_folder_becomes_a_table_with_a_row_a_face(photos, capsys):
    table = fer_keras.recognize_folder(photos, network=NETWORK)
    assert list(table.columns) == [*COLUMNS, *FER7, "detector_score", "error"]
    assert [
        (name, None if pd.isna(emotion) else emotion) for name, emotion in table[["picture", "emotion"]].to_numpy()
    ] == (EXPECTED)
    assert capsys.readouterr().err == "", "no progress bar without a terminal"
    happy = table[table.emotion == "happy"]
    assert (happy.face == 1).all()
    np.testing.assert_allclose(happy[list(FER7)].sum(axis=1), 1, atol=1e-6)
    assert happy.error.isna().all()
    assert (happy.confidence == happy.happy).all()
    (face,) = fer_keras.recognize(photos / "img10.png", network=NETWORK)
    last = table[table.picture == "img10.png"].iloc[0]
    assert (last.left, last.top, last.width, last.height) == face.box
    assert last.confidence == pytest.approx(face.confidence, rel=1e-5)

    nobody = table[table.emotion == NO_FACE].iloc[0]
    assert nobody.face == 0
    assert nobody[["left", "confidence", "happy", "detector_score", "error"]].isna().all()
    for _, row in table[table.emotion.isna()].iterrows():
        assert str(photos / row.picture) in row.error
        assert pd.isna(row.face)
    assert all(isinstance(table[name].dtype, pd.Int64Dtype) for name in ("face", "left", "top", "width", "height"))


def test_a_zip_is_read_as_the_folder_that_it_holds(photos, tmp_path):
    file = tmp_path / "photos.ZIP"
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(photos.rglob("*")):
            archive.write(path, path.relative_to(photos))
    pd.testing.assert_frame_equal(
        fer_keras.recognize_folder(file, network=NETWORK).drop(columns="error"),
        fer_keras.recognize_folder(photos, network=NETWORK).drop(columns="error"),
    )


def test_a_zip_that_climbs_out_or_is_damaged_is_refused(tmp_path):
    climbing = tmp_path / "climbing.zip"
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.writestr("../outside.png", b"")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK\3\4")
    for file, words in ((climbing, "leads out of it"), (damaged, "Expected a whole zip archive")):
        with pytest.raises(DataError, match=words):
            fer_keras.recognize_folder(file, network=NETWORK)
    assert not (tmp_path / "outside.png").exists()


def test_what_is_no_folder_or_has_no_pictures(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    for name, words in (("empty", "Received: none"), ("a.png", "Received: a file"), ("no", "Received: nothing there")):
        with pytest.raises(DataError, match=rf"{name}: Expected .*{words}"):
            fer_keras.recognize_folder(tmp_path / name, network=NETWORK)


def test_names_are_sorted_as_people_do_and_links_do_not_lead_in_circles(tmp_path):
    for name in ("10/b.png", "9/a1.png", "9/a10.png", "9/A2.png", "9/a.png", "x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "9" / "circle").symlink_to(tmp_path)
    found = [file.relative_to(tmp_path).as_posix() for file in list_pictures(tmp_path)]
    assert found == ["9/a.png", "9/a1.png", "9/A2.png", "9/a10.png", "10/b.png", "x.png"]
    assert [file.name for file in list_pictures(tmp_path, without=tmp_path / "9")] == ["b.png", "x.png"]


def test_a_name_that_is_no_text(tmp_path, capsys):
    name = b"caf\xe9 \n.png"
    try:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            Image.new("RGB", (60, 60)).save(file, "PNG")
    except OSError:
        pytest.skip("this file system takes text only")
    (tmp_path / "whole.png").write_bytes(b"")
    table = fer_keras.recognize_folder(tmp_path, network=NETWORK)
    assert table.picture.to_list() == ["caf\\udce9 \n.png", "whole.png"]
    assert table.emotion[0] == NO_FACE
    assert main(["recognize", str(tmp_path), "--weights", NETWORK, "--csv", str(tmp_path / "faces.csv")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/caf? ?.png: no face\n"
    assert pd.read_csv(tmp_path / "faces.csv").picture[0] == f"{tmp_path}/caf\\udce9 \n.png"


def test_faces_of_many_pictures_are_batches_and_none_is_lost(monkeypatch):
    monkeypatch.setattr(folders, "MOST_FACES", 10)
    monkeypatch.setattr(folders, "MOST_PICTURES", 7)
    network, generator = Brightness(), np.random.default_rng(0)
    recognizer = Recognizer(network, detector=Quarters(), min_confidence=0)
    counts = [*generator.integers(0, 5, 40).tolist(), *[0] * 20, 4]
    pictures = [
        (f"{number}", b"damaged" if number % 9 == 4 else quarters(count)) for number, count in enumerate(counts)
    ]
    found = list(recognize_each(pictures, recognizer))
    assert [name for name, _, _ in found] == [name for name, _ in pictures]
    for number, (_, faces, error) in enumerate(found):
        if number % 9 == 4:
            assert (faces, error[:8]) == (None, "Expected")
        else:
            assert_same(faces, recognizer.recognize(quarters(counts[number])))
            assert error is None
    sizes = [len(batch) for batch in network.batches[: -len(counts)] if len(batch)]
    assert max(sizes) < 10 + 4
    table = as_table((row for each in found for row in rows(*each)), network.classes)
    assert len(table) == sum(max(1, count) if number % 9 != 4 else 1 for number, count in enumerate(counts))


def test_memory_does_not_grow_with_the_number_of_pictures():
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)).save(stream, "PNG")
    content = stream.getvalue()  # 0.36 MB of pixels each
    recognizer = Recognizer(Brightness(), detector=Quarters())

    def peak(count):
        recognizer.network.batches.clear()
        tracemalloc.start()
        for _ in recognize_each(((number, content) for number in range(count)), recognizer):
            recognizer.network.batches.clear()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(20), peak(320)
    assert many < few + 300_000, "less than one picture more"


def test_a_bar_shows_progress_on_a_terminal(photos, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with pictures_at(photos) as pictures:
        assert len(pictures) == len(EXPECTED)
    fer_keras.recognize_folder(photos / "holidays", network=NETWORK)
    assert "2/2" in terminal.getvalue()
