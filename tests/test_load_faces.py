"""Whatever lies at a path is found out, and the command says what it is."""

import zipfile

import data_files as files
import pytest

from fer_keras.__main__ import main
from fer_keras.data import DataError, load_faces
from fer_keras.labels import CKPLUS7, FER4, FER7

COUNT = 70


def course(folder):
    listing = [
        (split, name, 4 * n + k)
        for n, split in enumerate(("train", "validation", "test"))
        for k, name in enumerate(FER4)
    ]
    return files.write_course(folder, files.noise(12), listing)


def zipped(folder):
    file = files.write_csv(folder, files.icml_lines(files.fer_table(COUNT)), "icml_face_data.csv")
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(file, file.name)
    file.unlink()
    return folder / "archive.zip"


def tree(make):
    return lambda folder: files.write_tree(folder, make(files.fer_table(COUNT)))


# Form: how it is written, and the classes, protocol and number of images that are to be found.
FORMS = {
    "fer2013.csv": (
        lambda folder: files.write_csv(folder, files.csv_lines(files.fer_table(COUNT))),
        FER7,
        "official",
        COUNT,
    ),
    "train.csv": (
        lambda folder: files.write_csv(folder, files.challenge_lines(files.fer_table(COUNT)), "train.csv"),
        FER7,
        "own",
        COUNT,
    ),
    "zip": (zipped, FER7, "official", COUNT),
    "Parquet": (
        lambda folder: files.write_parquet(folder, files.parquet_frame(files.fer_table(COUNT))),
        FER7,
        "official",
        COUNT,
    ),
    "course": (course, FER4, "course", 12),
    "named folders": (tree(files.named_folders), FER7, "official", COUNT),
    "unnamed folders": (tree(files.unnamed_folders), FER7, "own", COUNT),
    "validated folders": (tree(files.validated_folders), FER7, "folders", COUNT),
    "CK+48": (lambda folder: files.write_tree(folder, files.ckplus_folders()), CKPLUS7, "own", 240),
    "RAF-DB, list": (lambda folder: files.write_rafdb_list(folder, files.rafdb_faces()), FER7, "raf-db", 84),
    "RAF-DB, folders": (lambda folder: files.write_rafdb_folders(folder, files.rafdb_faces()), FER7, "raf-db", 84),
    "own folders": (
        lambda folder: files.write_tree(
            folder, {f"{name}/{n}.png": files.noise(1)[0] for name in ("happy", "bored") for n in range(9)}
        ),
        ("happy", "bored"),
        "own",
        18,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_out(form, tmp_path, monkeypatch):
    files.set_up(monkeypatch, tmp_path)
    write, classes, protocol, count = FORMS[form]
    place = tmp_path / "data"
    place.mkdir()
    path = write(place) or place
    faces = load_faces(path)
    assert (faces.classes, faces.protocol, len(faces)) == (classes, protocol, count)


def test_the_command_says_what_it_is_and_lists_every_fault_when_asked(tmp_path, monkeypatch, capsys):
    files.set_up(monkeypatch, tmp_path)
    place = files.write_tree(tmp_path / "CK", files.ckplus_folders())
    assert main(["data", str(place)]) == 0
    assert "240" in capsys.readouterr().out
    bad = [place / "CK+48" / "anger" / name for name in ("notes.png", "S999_001_00000001.png")]
    for file in bad:
        file.write_bytes(b"no picture")
    assert main(["data", str(place)]) == 2
    assert "notes.png" in capsys.readouterr().err
    assert main(["data", str(place), "--skip"]) == 0
    printed = capsys.readouterr().out
    assert "2 skipped" in printed
    assert all(file.name in printed for file in bad)


def test_what_is_nothing_of_these_is_refused(tmp_path, monkeypatch):
    files.set_up(monkeypatch, tmp_path)
    with pytest.raises(DataError, match="no such file"):
        load_faces(tmp_path / "nowhere")
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(DataError, match="Expected one of the following"):
        load_faces(tmp_path / "letter.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Expected"):
        load_faces(tmp_path / "empty")
