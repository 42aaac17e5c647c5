"""Folders of pictures: one row a face, whatever else lies there, in batches and in bounded memory."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image
from test_recognizer import NETWORK, Brightness, Quarters, quarters

import fer_keras
from fer_keras.__main__ import main
from fer_keras.data import DataError
from fer_keras.labels import FER7
from fer_keras.recognition import folders
from fer_keras.recognition.folders import COLUMNS, NO_FACE, as_table, pictures_at, recognize_each, rows
from fer_keras.recognition.recognizer import Recognizer

HAAR = {"network": NETWORK, "detector": "haar"}
WITH = ["--weights", NETWORK, "--detector", "haar"]
ODD = "ümläut 'quoted', name.webp"


@pytest.fixture
def photos(tmp_path):
    """A folder as people have it: photos, sub-folders, and much that is none."""
    folder = tmp_path / "photos"
    astronaut, blank = Image.fromarray(skimage.data.astronaut()), Image.new("RGB", (200, 100), "grey")
    pictures = {"img10.png": astronaut, "img2.jpg": astronaut.convert("L"), f"holidays/2 beach/{ODD}": astronaut}
    pictures |= dict.fromkeys(("holidays/10 home/a.png", ".hidden/b.png", "__MACOSX/c.png", "._img2.jpg"), blank)
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name, quality=95, compress_level=1)
    words, heic = b"I am no picture", b"\0\0\0\x18ftypheic" + bytes(90)
    broken = {"cut.png": (folder / "img10.png").read_bytes()[:2000], "words.jpg": words, "notes.txt": words}
    for name, content in (broken | {"phone.heic": heic}).items():
        (folder / name).write_bytes(content)
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "empty").mkdir()
    return folder


def test_a_folder_becomes_a_table_with_a_row_a_face(photos, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    table = fer_keras.recognize_folder(photos, **HAAR)
    assert list(table.columns) == [*COLUMNS, *FER7]
    assert table.set_index("picture").status.to_dict() == {
        "cut.png": "error", f"holidays/2 beach/{ODD}": "ok", "holidays/10 home/a.png": NO_FACE,
        "img2.jpg": "ok", "img10.png": "ok", "loop.jpg": "error", "phone.heic": "error", "words.jpg": "error",
    }  # fmt: skip
    assert capsys.readouterr().err == "", "no progress bar without a terminal"
    happy = table[table.status == "ok"]
    assert ((happy.face == 1) & (happy.emotion == "happy") & (happy.confidence == happy.happy)).all()
    (face,) = fer_keras.recognize(photos / "img10.png", **HAAR)
    last = table.set_index("picture").loc["img10.png"]
    assert (last.left, last.top, last.width, last.height) == face.box
    assert last.confidence == pytest.approx(face.confidence, rel=1e-5)
    nobody = table[table.status == NO_FACE].iloc[0].dropna()
    assert nobody.to_dict() == {"picture": "holidays/10 home/a.png", "status": NO_FACE, "face": 0}
    bad = table[table.status == "error"]
    assert bad[["face", "emotion"]].isna().all(axis=None)
    assert all(str(photos / row.picture) in row.error for row in bad.itertuples())
    assert "pip install pillow-heif" in bad.set_index("picture").error["phone.heic"]
    assert all(isinstance(table[name].dtype, pd.Int64Dtype) for name, kind in COLUMNS.items() if kind is int)


def test_every_file_that_pillow_reads_is_read(tmp_path):
    kinds = [".apng", ".avif", ".bmp", ".gif", ".ICO", ".jfif", ".jp2", ".jpe", ".JPEG", ".jpx", ".mpo", ".pcx", ".qoi"]
    kinds += [".png", ".ppm", ".sgi", ".tga", ".tif", ".TIFF", ".webp"]
    for suffix in kinds:
        Image.new("RGB", (64, 64), "grey").save(tmp_path / f"a{suffix}")
    table = fer_keras.recognize_folder(tmp_path, network=Brightness(), detector=None, min_confidence=0)
    assert table.status.to_list() == ["ok"] * len(kinds)


def test_a_zip_is_read_as_the_folder_that_it_holds_and_refused_if_it_is_cut_off_or_climbs_out(photos, tmp_path):
    (photos / "loop.jpg").unlink()
    os.replace(shutil.make_archive(tmp_path / "photos", "zip", photos), tmp_path / "photos.ZIP")
    zipped, plain = (fer_keras.recognize_folder(path, **HAAR) for path in (tmp_path / "photos.ZIP", photos))
    pd.testing.assert_frame_equal(zipped.drop(columns="error"), plain.drop(columns="error"))
    with zipfile.ZipFile(tmp_path / "climbing.zip", "w") as archive:
        archive.writestr("../outside.png", b"")
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4")
    refused = {"climbing.zip": "leads out of it", "cut.zip": "a whole zip archive", "photos/empty": "Received: none"}
    for name, words in (refused | {"photos/cut.png": "Received: a file", "no": "Received: nothing there"}).items():
        with pytest.raises(DataError, match=words):
            fer_keras.recognize_folder(tmp_path / name, **HAAR)
    assert not (tmp_path.parent / "outside.png").exists()


def test_names_are_sorted_as_people_do_and_a_folder_that_cannot_be_read_is_a_warning(tmp_path, monkeypatch):
    for name in ("10/b.png", "9/a1.png", "9/a10.png", "9/A2.png", "9/a.png", "x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "9" / "circle").symlink_to(tmp_path)
    with pictures_at(tmp_path) as found:
        assert [name for name, _ in found] == ["9/a.png", "9/a1.png", "9/A2.png", "9/a10.png", "10/b.png", "x.png"]
    with pictures_at(tmp_path, without=tmp_path / "9") as found:
        assert [name for name, _ in found] == ["10/b.png", "x.png"]

    def scandir(path, real=os.scandir):
        if os.fspath(path).endswith("9"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.warns(UserWarning, match="9: Expected a folder that can be read. Received: Permission denied"):
        assert len(fer_keras.recognize_folder(tmp_path, network=Brightness(), detector=None)) == 2


def test_a_name_that_is_no_text(tmp_path, capsys):
    try:
        with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9 \n.png"), "wb") as file:
            Image.new("RGB", (60, 60)).save(file, "PNG")
    except OSError:
        pytest.skip("this file system takes text only")
    table = fer_keras.recognize_folder(tmp_path, **HAAR)
    assert (table.picture.to_list(), table.status.to_list()) == (["caf\\udce9 \n.png"], [NO_FACE])
    assert main(["recognize", str(tmp_path), *WITH, "--csv", str(tmp_path / "faces.csv")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/caf? ?.png: no face\n"
    assert pd.read_csv(tmp_path / "faces.csv").picture[0] == f"{tmp_path}/caf\\udce9 \n.png"


def test_faces_of_many_pictures_are_batches_and_none_is_lost(monkeypatch):
    monkeypatch.setattr(folders, "MOST_FACES", 10)
    monkeypatch.setattr(folders, "MOST_PICTURES", 7)
    recognizer = Recognizer(network := Brightness(), detector=Quarters(), min_confidence=0)
    counts = [*np.random.default_rng(0).integers(0, 5, 40).tolist(), *[0] * 20, 4]
    pictures = [(f"{number}", b"bad" if number % 9 == 4 else quarters(count)) for number, count in enumerate(counts)]
    found = list(recognize_each(pictures, recognizer))
    assert max(map(len, network.batches)) < 10 + 4
    for (name, source), (same, faces, error) in zip(pictures, found, strict=True):
        assert (same, error and error[:8]) == (name, "Expected" if isinstance(source, bytes) else None)
        assert faces == (None if error else recognizer.recognize(source))
    table = as_table((row for each in found for row in rows(*each)), network.classes)
    assert len(table) == sum(max(1, count) if number % 9 != 4 else 1 for number, count in enumerate(counts))


def test_memory_does_not_grow_with_the_number_of_pictures():
    stream, peaks = io.BytesIO(), []
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)).save(stream, "BMP")
    recognizer = Recognizer(Brightness(), detector=Quarters())
    for count in (20, 160):  # pictures of 0.36 MB of pixels each
        tracemalloc.start()
        for _ in recognize_each(((number, stream.getvalue()) for number in range(count)), recognizer):
            recognizer.network.batches.clear()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000, "less than one picture more"


def test_a_bar_on_a_terminal_unless_faces_are_printed_there_and_none_without_a_console(photos, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    for stream in (terminal, None):
        monkeypatch.setattr(sys, "stderr", stream)
        fer_keras.recognize_folder(photos / "holidays", network=Brightness(), detector=None)
    assert terminal.getvalue().count("2/2") == 1
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, terminal)
    assert folders.list_faces([photos / "holidays"], network=Brightness(), detector=None) == 0
    assert [terminal.getvalue().count(text) for text in ("2/2", "face 1 ")] == [1, 2]


def test_a_bad_place_is_an_error_before_the_work_and_on_a_full_disk_what_was_done_is_kept(photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    for options in ("--csv notes.txt/faces.csv", "--csv holidays", "--out notes.txt"):
        assert main(["recognize", "img2.jpg", *options.split(), *WITH]) == 2
        assert [text[:7] for text in capsys.readouterr()] == ["", "error: "]
    code = (  # no file may have more than 99,999 bytes, as if the disk were full from there on
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (99999, 99999))\n"
        "from fer_keras.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "recognize", "img10.png", "holidays", "--out", "out", "--csv", "faces.csv"]
    done = subprocess.run([*command, *WITH, "--bars"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (2, 3), "the rest goes on"
    assert done.stderr.startswith("error: out/img10.png: [Errno 27] File too large")
    assert sorted(path.name for path in (photos / "out").rglob("*.*")) == ["a.png", ODD]
    assert pd.read_csv(photos / "faces.csv").status.to_list() == ["ok", "ok", "no face"]


def test_killed_or_on_an_error_the_table_is_called_partial_and_the_earlier_one_stays(tmp_path):
    (tmp_path / "faces.csv").write_text("earlier")
    with contextlib.suppress(OSError), folders.table_file(tmp_path / "faces.csv", COLUMNS) as write:
        write(rows("a.png", [], None))
        raise OSError("full")
    assert pd.read_csv(tmp_path / "faces.partial.csv").status.to_list() == [NO_FACE]
    assert (tmp_path / "faces.csv").read_text() == "earlier"
